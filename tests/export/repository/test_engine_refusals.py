"""Engines that must not reach a server, and what people are told instead."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine_records import add, both, build, copy_of, profiles, record
from tritonclip_export.bundle import Binding, Bundle, Profile
from tritonclip_export.errors import RepositoryError
from tritonclip_export.repository.assemble import assemble, server_arguments
from tritonclip_export.repository.execution import Execution
from tritonclip_export.tensorrt.serving_version import Target


@pytest.fixture
def demo(bundle: Callable[[str], Bundle], tmp_path: Path) -> Bundle:
    """A bundle of its own, to put engines into."""
    return copy_of(bundle("demo"), tmp_path / "demo")


def test_an_engine_of_another_tensorrt_is_refused_with_both_versions(demo: Bundle) -> None:
    with pytest.raises(RepositoryError) as caught:
        build(both(demo, version="10.15.1.29"))

    message = str(caught.value)
    assert "image.fp16.tensorrt.2 of bundle 'demo' was built by TensorRT 10.15.1.29" in message
    assert "the server has TensorRT 11.1.0.106 (confirmed for 26.07)" in message
    build_it = f"tritonclip build {demo.path} --precision fp16 --container --tag 26.07"
    assert build_it in message
    assert "the container 26.02 (--tag 26.02)" in message
    assert not (demo.path.parent / "repository").exists()


def test_one_stale_engine_among_good_ones_is_refused_too(demo: Bundle) -> None:
    demo = both(both(demo), compute_capability="9.0", version="10.15.1.29")

    with pytest.raises(RepositoryError, match=r"10\.15\.1\.29.*11\.1\.0\.106"):
        build(demo)


def test_a_rebuilt_engine_takes_the_place_of_the_old_one(demo: Bundle) -> None:
    build(both(both(demo, version="10.15.1.29")))

    plan = demo.path.parent / "repository" / "demo_image_encoder" / "1" / "model_sm89.plan"
    assert plan.read_text() == "image.fp16.tensorrt.4"


def test_models_that_stay_must_load_in_the_same_server(demo: Bundle) -> None:
    build(both(demo))
    other = both(demo.with_info(name="other"), version="10.15.1.29")
    repository = demo.path.parent / "repository"
    old = Execution(target=Target("26.02", "10.15.1", "confirmed for 26.02"))

    with pytest.raises(RepositoryError, match=r"demo_image_encoder.*11\.1\.0\.106.*--prune"):
        assemble([other], repository, runtime="tensorrt", execution=old)

    done = assemble([other], repository, runtime="tensorrt", execution=old, prune=True)
    assert "demo_image_encoder" in done.removed


@pytest.mark.parametrize(
    ("built", "runs"),
    [("11.0.0.50", True), ("11.1.0.106", True), ("11.3.0.1", False), ("10.15.1.29", False)],
)
def test_a_version_compatible_engine_runs_under_later_ones_of_its_major(
    built: str, runs: bool, demo: Bundle
) -> None:
    demo = both(demo, version=built, version_compatible=True)
    if not runs:
        with pytest.raises(RepositoryError, match=f"{built}.*that or a later one of the same"):
            build(demo)
        return

    build(demo)

    repository = demo.path.parent / "repository"
    allowed = "--backend-config=tensorrt,version-compatible=true"
    assert server_arguments(repository) == (allowed,)
    program = Path(sys.executable).parent / "tritonclip"
    serve = [program, "serve", repository, "--container", "--dry-run"]
    assert allowed in subprocess.run(serve, capture_output=True, text=True).stdout


def test_ordinary_engines_need_no_permission(demo: Bundle) -> None:
    build(both(demo))

    assert server_arguments(demo.path.parent / "repository") == ()


def test_engines_of_tensorrt_rtx_are_never_served(demo: Bundle) -> None:
    for tower in ("image", "text"):
        demo = add(demo, tower, record(demo, tower, version="1.7.1.116"), format="tensorrt-rtx")

    with pytest.raises(RepositoryError, match=r"only engines of TensorRT-RTX .*full TensorRT"):
        build(demo)

    demo = both(demo)
    assert build(demo)["image_encoder"].default_model_filename == "model_sm89.plan"
    assert build(demo, precision="bf16")["image_encoder"].default_model_filename == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"profiles": profiles([(8,), (32,)], 16, 32)}, "no optimization profile for 1x16, which"),
        (
            {"profiles": (Profile(min=(2, 8), opt=(2, 32), max=(4, 32)),)},
            "no optimization profile for 1x8, 1x16, 1x32",
        ),
        (
            {
                "bindings": (
                    Binding(name="TOKEN_IDS", mode="input", dtype="int32", shape=(1, -1)),
                    Binding(name="EMBEDDING", mode="output", dtype="fp32", shape=(-1, 64)),
                )
            },
            "fixed batch in TOKEN_IDS",
        ),
        (
            {
                "bindings": (
                    Binding(name="ids", mode="input", dtype="int32", shape=(-1, -1)),
                    Binding(name="EMBEDDING", mode="output", dtype="fp32", shape=(-1, 64)),
                )
            },
            "have the tensors input ids, output EMBEDDING, not input TOKEN_IDS, output EMBEDDING",
        ),
    ],
)
def test_an_engine_that_cannot_take_what_comes_is_refused(
    changes: dict[str, Any], message: str, demo: Bundle
) -> None:
    demo = add(demo, "image", record(demo, "image"))

    with pytest.raises(RepositoryError, match=message):
        build(add(demo, "text", record(demo, "text", **changes)))


def test_an_engine_of_a_graph_that_has_changed_is_refused(demo: Bundle) -> None:
    demo = both(demo, "fp32", graph_sha256="f" * 64)

    with pytest.raises(RepositoryError, match=r"compiled from another graph.*build it again"):
        build(demo)


def test_data_types_are_the_engines_own_and_must_fit_the_pipeline(demo: Bundle) -> None:
    wide = (
        Binding(name="TOKEN_IDS", mode="input", dtype="int64", shape=(-1, -1)),
        Binding(name="EMBEDDING", mode="output", dtype="fp32", shape=(-1, demo.info.dim)),
    )
    demo = add(demo, "image", record(demo, "image"))

    with pytest.raises(
        RepositoryError, match=r"TOKEN_IDS wants TYPE_INT64 \[-1\] and is given TYPE_INT32 \[-1\]"
    ):
        build(add(demo, "text", record(demo, "text", bindings=wide)))


def test_engines_of_different_form_do_not_share_a_config(demo: Bundle) -> None:
    demo = both(demo)
    one = (Profile(min=(1, 8), opt=(16, 32), max=(32, 32)),)
    other = record(demo, "text", compute_capability="9.0", profiles=one)

    with pytest.raises(RepositoryError, match=r"8\.9 and 9\.0 have different numbers of profiles"):
        build(add(demo, "text", other))


def test_where_nothing_tells_the_version_the_image_that_built_does(demo: Bundle) -> None:
    unknown = Target("31.01", None, "not known here")

    with pytest.raises(RepositoryError, match=r"which TensorRT the container 31\.01 has.*pull"):
        build(both(demo), unknown)

    build(both(demo, image="nvcr.io/nvidia/tritonserver:31.01-py3"), unknown)
