"""Repositories of engines: configs that match what the compiler reported, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from engine_records import BUCKETS, TARGET, add, both, build, configs, copy_of, profiles, record
from tritonclip.errors import InvalidArgument
from tritonclip_cli import app
from tritonclip_export.bundle import Bundle, Profile
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.repository.execution import Execution
from tritonclip_export.served.model_config import read_config, render_config
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server


@pytest.fixture
def demo(bundle: Callable[[str], Bundle], tmp_path: Path) -> Bundle:
    """A bundle of its own, to put engines into."""
    return copy_of(bundle("demo"), tmp_path / "demo")


def graph_specs(config: Any) -> list[tuple[int, list[int]]]:
    return [
        (spec.batch_size, list(spec.input[config.input[0].name].dim))
        for spec in config.optimization.cuda.graph_spec
    ]


def warmups(config: Any) -> list[tuple[int, list[int]]]:
    tensor = config.input[0].name
    return [(w.batch_size, list(w.inputs[tensor].dims)) for w in config.model_warmup]


def test_an_image_engine_gets_its_shapes_batches_graphs_and_warm_up(demo: Bundle) -> None:
    config = build(both(demo))["image_encoder"]

    size = demo.info.image.height
    assert config.backend == "tensorrt"
    assert config.platform == "tensorrt_plan"
    assert config.max_batch_size == 32
    assert list(config.input[0].dims) == [3, size, size]
    assert list(config.output[0].dims) == [demo.info.dim]
    (group,) = config.instance_group
    assert (group.Kind.Name(group.kind), group.count, list(group.profile)) == ("KIND_GPU", 1, ["0"])
    assert list(config.dynamic_batching.preferred_batch_size) == [16, 32]
    assert config.optimization.cuda.graphs
    item = [3, size, size]
    assert graph_specs(config) == [(batch, item) for batch in (1, 2, 4, 8, 16, 32)]
    assert warmups(config) == [(1, item), (16, item)]


def test_a_text_engine_gets_one_profile_for_each_length(demo: Bundle) -> None:
    config = build(both(demo), instances=2)["text_encoder"]

    assert list(config.input[0].dims) == [-1]
    (group,) = config.instance_group
    assert (group.count, list(group.profile)) == (2, ["0", "1", "2"])
    assert warmups(config) == [(batch, [length]) for length in BUCKETS for batch in (1, 16)]
    # Triton tries every listed shape with every profile; unlisted, it records each one's own.
    assert config.optimization.cuda.graphs
    assert not config.optimization.cuda.graph_spec


def test_one_text_profile_for_all_lengths_has_each_of_them_recorded(demo: Bundle) -> None:
    one = (Profile(min=(1, 8), opt=(16, 32), max=(32, 32)),)
    demo = add(demo, "image", record(demo, "image"))
    config = build(add(demo, "text", record(demo, "text", profiles=one)))["text_encoder"]

    assert list(config.instance_group[0].profile) == ["0"]
    assert {tuple(dims) for _, dims in graph_specs(config)} == {(8,), (16,), (32,)}


def test_cuda_graphs_can_be_left_out(demo: Bundle) -> None:
    config = build(both(demo), cuda_graphs=False)["image_encoder"]

    assert not config.optimization.HasField("cuda")


def test_the_smallest_profile_limits_every_model(demo: Bundle) -> None:
    small = profiles([(8,), (16,)], 4, 24) + profiles([(32,)], 4, 12)
    demo = add(demo, "image", record(demo, "image"))
    found = build(add(demo, "text", record(demo, "text", profiles=small)))

    assert {c.max_batch_size for model, c in found.items() if model != "zero_shot"} == {12}
    assert found["zero_shot"].parameters["max_batch"].string_value == "12"
    assert list(found["image_encoder"].dynamic_batching.preferred_batch_size) == [12]
    assert list(found["text_encoder"].dynamic_batching.preferred_batch_size) == [4, 12]


def test_profiles_that_divide_the_batches_count_together(demo: Bundle) -> None:
    item = (3, demo.info.image.height, demo.info.image.height)
    divided = (
        Profile(min=(1, *item), opt=(1, *item), max=(4, *item)),
        Profile(min=(5, *item), opt=(16, *item), max=(32, *item)),
    )
    demo = add(demo, "image", record(demo, "image", profiles=divided))
    config = build(add(demo, "text", record(demo, "text")))["image_encoder"]

    assert config.max_batch_size == 32
    assert list(config.instance_group[0].profile) == ["0", "1"]
    assert warmups(config) == [(1, list(item)), (16, list(item))]


def test_one_repository_serves_several_gpus(demo: Bundle) -> None:
    demo = both(both(demo), compute_capability="10.0")
    demo = both(demo, compute_capability="9.0")
    config = build(demo)["image_encoder"]

    assert config.default_model_filename == "model_sm89.plan"
    assert dict(config.cc_model_filenames) == {
        "8.9": "model_sm89.plan",
        "9.0": "model_sm90.plan",
        "10.0": "model_sm100.plan",
    }
    version = demo.path.parent / "repository" / "demo_image_encoder" / "1"
    assert sorted(file.name for file in version.iterdir()) == sorted(
        config.cc_model_filenames.values()
    )
    again = assemble(
        [demo], version.parents[1], runtime="tensorrt", execution=Execution(target=TARGET)
    )
    assert not again.written


def test_an_engine_for_every_newer_gpu_is_the_default_beside_the_exact_ones(demo: Bundle) -> None:
    demo = both(both(demo), compute_capability="8.0", hardware_compatibility="ampere_plus")
    config = build(demo)["text_encoder"]

    assert config.default_model_filename == "model_ampere_plus.plan"
    assert dict(config.cc_model_filenames) == {"8.9": "model_sm89.plan"}


def test_an_engine_for_one_capability_goes_by_it(demo: Bundle) -> None:
    config = build(both(demo, hardware_compatibility="same_compute_capability"))["text_encoder"]

    assert config.default_model_filename == "model_sm89.plan"
    assert dict(config.cc_model_filenames) == {"8.9": "model_sm89.plan"}


def test_a_gpu_that_only_one_tower_has_an_engine_for_is_missing_in_the_other(
    demo: Bundle, tmp_path: Path
) -> None:
    demo = add(both(demo), "image", record(demo, "image", compute_capability="9.0"))

    done = assemble([demo], tmp_path / "r", runtime="tensorrt", execution=Execution(target=TARGET))

    (missing,) = done.missing
    assert missing.file == tmp_path / "r" / "demo_text_encoder" / "1" / "model_sm90.plan"
    assert missing.command == f"tritonclip build {demo.path} --precision fp16"
    config = configs(tmp_path / "r")["text_encoder"]
    assert config.cc_model_filenames["9.0"] == "model_sm90.plan"


@pytest.mark.parametrize(
    ("precisions", "wanted", "served"),
    [
        (("fp32", "fp16"), None, "fp16"),
        (("fp32", "fp16"), "fp32", "fp32"),
        (("fp32",), None, "fp32"),
        (("bf16", "fp32"), None, "bf16"),
    ],
)
def test_fp16_is_preferred_and_what_is_served_is_said(
    precisions: tuple[str, ...], wanted: Any, served: str, demo: Bundle
) -> None:
    for precision in precisions:
        demo = both(demo, precision)

    found = build(demo, precision=wanted)

    for tower in ("image", "text"):
        assert found[tower].parameters["tritonclip_precision"].string_value == served
        plan = demo.path.parent / "repository" / f"demo_{tower}_encoder" / "1" / "model_sm89.plan"
        assert plan.read_text().startswith(f"{tower}.{served}.")


def test_towers_of_different_precision_are_both_named(demo: Bundle) -> None:
    demo = add(demo, "image", record(demo, "image"))
    demo = add(demo, "text", record(demo, "text", "fp32"), precision="fp32")

    for config in (found := build(demo))["image"], found["text"]:
        assert config.parameters["tritonclip_precision"].string_value == "image fp16, text fp32"


def test_the_server_takes_the_batching_the_graphs_and_the_warm_up(
    demo: Bundle, tmp_path: Path
) -> None:
    """With an ONNX graph in place of the plans: the server from PyPI has no tensorrt backend."""
    build(both(demo))
    repository = tmp_path / "repository"
    assemble([demo], tmp_path / "python", runtime="python")
    for tower in ("image", "text"):
        model = repository / f"demo_{tower}_encoder"
        plans, graphs = read_config(model / "config.pbtxt"), tmp_path / "python" / model.name
        stand_in = read_config(graphs / "config.pbtxt")
        for field in ("backend", "platform", "default_model_filename"):
            setattr(plans, field, getattr(stand_in, field))
        plans.ClearField("cc_model_filenames")
        plans.ClearField("instance_group")
        plans.instance_group.extend(stand_in.instance_group)
        for key, value in stand_in.parameters.items():
            plans.parameters[key].CopyFrom(value)
        (model / "config.pbtxt").write_text(render_config(plans, []))
        for file in (graphs / "1").iterdir():
            shutil.copyfile(file, model / "1" / file.name)

    with Server(repository, ports=Ports(0, 0, 0)) as server:
        assert server.is_running


def test_a_precision_without_engines_is_missing_and_engines_by_hand_are_kept(
    demo: Bundle, tmp_path: Path
) -> None:
    how = Execution(target=TARGET, precision="bf16")
    first = assemble([both(demo)], tmp_path / "r", runtime="tensorrt", execution=how)

    assert [missing.file.name for missing in first.missing] == ["model.plan", "model.plan"]
    assert {m.command for m in first.missing} == {f"tritonclip build {demo.path} --precision bf16"}
    config = configs(tmp_path / "r")["image"]
    assert config.parameters["tritonclip_precision"].string_value == "bf16"

    for missing in first.missing:
        missing.file.write_bytes(b"a plan")
    again = assemble([both(demo)], tmp_path / "r", runtime="tensorrt", execution=how)
    assert not again.missing
    assert not again.written


def test_the_command_says_what_is_missing_and_how_to_build_it(demo: Bundle, tmp_path: Path) -> None:
    def run(*options: str) -> Result:
        target = str(tmp_path / "repository")
        return CliRunner().invoke(app, ["assemble", str(demo.path), "-o", target, *options])

    shown = run("--runtime", "tensorrt", "--tensorrt", "10.13.3.9", "--tag", "25.08")
    assert shown.exit_code == 0
    assert "demo_text_encoder/1/model.plan" in shown.stdout
    assert shown.stdout.count(f"tritonclip build {demo.path} --precision fp16") == 1
    assert "serve --container --tag 25.08 --gpus all" in shown.stdout.replace(
        f"serve {tmp_path / 'repository'}", "serve"
    )

    (first, _) = json.loads(run("--runtime", "tensorrt", "--json").stdout)["missing"]
    assert first["file"].endswith("demo_image_encoder/1/model.plan")

    refused = run("--tag", "25.08")
    assert isinstance(refused.exception, InvalidArgument)
    assert "go with --runtime tensorrt" in str(refused.exception)
