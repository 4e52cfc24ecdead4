"""Building inside the serving image, up to Docker.

Neither Docker nor an NVIDIA image nor a GPU is where these run, so stand-ins take the places of
`docker`, `trtexec` and `nvidia-smi`: they check what they are given, run the real build script on
this machine and write logs in trtexec's words. What they cannot show is that an image does too.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tritonclip_export.bundle import Bundle
from tritonclip_export.errors import EngineError
from tritonclip_export.server import container
from tritonclip_export.server.container import ContainerError
from tritonclip_export.tensorrt.in_container import Image
from tritonclip_export.tensorrt.options import Options

IMAGE = Image(container.nvidia_image("26.07"))

# Runs the command in place of a container: mounts become their sources, the working folder too.
DOCKER = """
    import os, subprocess, sys
    arguments = sys.argv[1:]
    if arguments[0] == "version":
        print("28.0"), sys.exit()
    values = [a.split("=", 1)[1] for a in arguments if a.startswith("--mount=")]
    mounts = [dict(p.split("=", 1) for p in v.split(",") if "=" in p) for v in values]
    assert all(os.path.exists(mount["source"]) for mount in mounts)
    image = next(n for n, a in enumerate(arguments) if a.startswith("nvcr.io/"))
    where = {mount["target"]: mount["source"] for mount in mounts}
    command = [where.get(word, word) for word in arguments[image + 1 :]]
    assert "--entrypoint=/bin/bash" in arguments and "--gpus" in arguments
    print(arguments, file=open(os.environ["CALLS"], "a"))
    os.environ["TRT_VERSION"] = os.environ.get("IMAGE_TRT_VERSION", "11.1.0.106")
    os.chdir(where["/bundle"])
    os.execvp("/bin/bash", ["/bin/bash", *command])
"""

TRTEXEC = """
    import json, os, sys, time
    if "--help" in sys.argv:
        print("  --stronglyTyped   [Deprecated] now the default")
        sys.exit()
    flags = [a.split("=", 1) for a in sys.argv[1:]]
    given = dict(flag for flag in flags if len(flag) == 2)
    assert all(flag in sys.argv for flag in ("--stronglyTyped", "--noTF32", "--skipInference"))
    cache = given["--timingCacheFile"]
    assert os.path.exists(given["--onnx"]) and os.path.isdir(os.path.dirname(cache))
    assert cache.endswith("-sm89.timing")
    log = lambda text: print("[11/22/2026-03:00:00]", text, flush=True)
    log("[I] Compute Capability: 8.9")
    log("[I] TensorRT version: 11.1.0")
    open(given["--saveEngine"], "w").write("half")
    if os.environ.get("TRTEXEC") == "hangs":
        time.sleep(60)
    if os.environ.get("TRTEXEC") == "fails" and "text" in given["--onnx"]:
        log("[E] Error[2]: OutOfMemory (Requested size was 9663676416 bytes.)")
        sys.exit(1)
    profiles = sum(name == "--profile" for name, *_ in flags)
    log("[I] [TRT] Total Activation Memory: 1048576 bytes")
    log("[I] [TRT] Total Activation Memory: 2097152 bytes")
    log("[I] Engine built in 12.5 sec.")
    name = given["--minShapes"].split(":")[0]
    names = [name, "EMBEDDING"] + [f"{name} [profile {n}]" for n in range(1, profiles)]
    with open(given["--exportLayerInfo"], "w") as file:
        json.dump({"Layers": ["kernel"] * 40 * profiles, "Bindings": names}, file)
    open(given["--saveEngine"], "w").write("a plan of " + given["--onnx"])
"""

NVIDIA_SMI = """
    import sys
    print("8.9" if "--query-gpu=compute_cap" in sys.argv else "NVIDIA L4, 8.9, 23034 MiB, 580.65")
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts the stand-ins in place; the file that lists the calls of docker."""
    folder = tmp_path / "stand-ins"
    folder.mkdir()
    for name, code in (("docker", DOCKER), ("trtexec", TRTEXEC), ("nvidia-smi", NVIDIA_SMI)):
        (folder / name).write_text(f"#!{sys.executable}\n" + textwrap.dedent(code))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "calls").touch()
    return tmp_path / "calls"


@pytest.fixture
def demo(bundle: Callable[[str], Bundle], tmp_path: Path) -> Bundle:
    """A copy to build in."""
    shutil.copytree(bundle("demo").path, tmp_path / "demo")
    return Bundle.load(tmp_path / "demo")


def number(calls: Path) -> int:
    return len(calls.read_text().splitlines())


def plans(bundle: Bundle) -> list[str]:
    """What lies in the folder of engines, after checking it against `bundle.json`."""
    Bundle.load(bundle.path).check_files()
    return sorted(path.name for path in bundle.file("engines").iterdir())


PLANS = ["image_encoder.fp32.sm89.plan", "text_encoder.fp32.sm89.plan"]


def test_one_docker_run_builds_both_engines_and_this_machine_records_them(
    demo: Bundle, calls: Path
) -> None:
    done = Image(IMAGE.name, "device=1").build(demo, "fp32")

    assert number(calls) == 1
    assert plans(demo) == PLANS
    image, text = done.built
    assert demo.file(text.file).read_text() == "a plan of text_encoder.onnx"
    assert (text.format, text.precision, text.max_batch) == ("tensorrt", "fp32", 32)
    engine = text.engine
    assert engine is not None
    assert (engine.version, engine.compute_capability) == ("11.1.0.106", "8.9")
    assert (engine.layers, engine.device_memory_bytes, engine.build_seconds) == (40, 2**21, 12.5)
    assert [profile.max for profile in engine.profiles] == [(32, 8), (32, 16), (32, 32)]
    assert engine.image == "nvcr.io/nvidia/tritonserver:26.07-py3"
    assert {binding.name for binding in engine.bindings} == {"TOKEN_IDS", "EMBEDDING"}
    assert image.built_with == {"tensorrt": "11.1.0.106"}
    assert demo.file(image.file).stat().st_uid == os.getuid()

    again = Image(IMAGE.name, "device=1").build(done.bundle, "fp32")
    assert (again.built, again.unchanged, number(calls)) == ((), done.built, 1)
    Image(container.nvidia_image("26.09")).build(done.bundle, "fp32")
    assert number(calls) == 2


def test_the_command_can_be_run_by_hand_and_its_results_are_picked_up(
    demo: Bundle, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(
        max_batch=8,
        opt_batch=4,
        optimization_level=5,
        workspace_bytes=2**30,
        hardware_compatibility="ampere_plus",
        version_compatible=True,
        refittable=True,
    )
    command = IMAGE.command(demo, "fp32", options)
    words = shlex.split(shlex.join(command))
    assert words == command
    assert f"--user={os.getuid()}:{os.getgid()}" in command
    for flag in (
        "--builderOptimizationLevel=5",
        "--memPoolSize=workspace:1024",
        "--hardwareCompatibilityLevel=ampere+",
        "--versionCompatible",
        "--refit",
        "--profile=0 --minShapes=TOKEN_IDS:1x8 ",
        "--profile=2 --minShapes=TOKEN_IDS:1x32 --optShapes=TOKEN_IDS:4x32 ",
        "--maxShapes=TOKEN_IDS:8x32",
    ):
        assert flag in command[-1]

    subprocess.run(command, check=True, capture_output=True)
    # Elsewhere there may be neither Docker nor a GPU.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    done = IMAGE.build(demo, "fp32", options)

    assert len(done.built) == 2
    assert number(calls) == 1
    assert plans(demo) == [
        "image_encoder.fp32.sm89-ampere-plus.plan",
        "text_encoder.fp32.sm89-ampere-plus.plan",
    ]


def test_a_build_that_fails_tells_why_and_leaves_what_was_there(
    demo: Bundle, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = IMAGE.build(demo, "fp32").built
    monkeypatch.setenv("TRTEXEC", "fails")

    with pytest.raises(EngineError, match=r"text_encoder.onnx .* ran out of memory .*\.log$"):
        IMAGE.build(demo, "fp32", Options(max_batch=16))

    assert tuple(a for a in Bundle.load(demo.path).info.artifacts if a.engine) == before
    assert plans(demo) == [".container", *PLANS]
    assert not list(demo.file("engines/.container").glob("*.partial"))

    monkeypatch.delenv("TRTEXEC")
    IMAGE.build(demo, "fp32", Options(max_batch=16))
    assert plans(demo) == PLANS
    assert calls.read_text().splitlines()[-1].count("--onnx=") == 1  # the image's was done


def test_an_image_with_an_old_tensorrt_is_refused_before_it_compiles(
    demo: Bundle, calls: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMAGE_TRT_VERSION", "10.9.0.34")

    with pytest.raises(ContainerError, match="exit status 4"):
        IMAGE.build(demo, "fp32")

    assert number(calls) == 1
    assert "TensorRT 10.9.0.34 is too old" in capfd.readouterr().err
    assert not demo.file("engines").exists()


def test_a_machine_without_a_gpu_is_told_so_before_docker_is(
    demo: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))

    with pytest.raises(EngineError, match=r"here is none: no NVIDIA driver.*--dry-run"):
        IMAGE.build(demo, "fp32")


def test_a_signal_ends_the_compiler_and_removes_what_is_half(
    demo: Bundle, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRTEXEC", "hangs")
    process = subprocess.Popen(IMAGE.command(demo, "fp32", Options()))
    results = demo.file("engines/.container")
    while not list(results.glob("*.partial")):
        time.sleep(0.02)

    process.send_signal(signal.SIGINT)

    assert process.wait(10) == 130
    assert not list(results.glob("*.partial"))
    assert number(calls) == 1


def test_the_layer_information_must_name_the_tensors_of_the_graph(
    demo: Bundle, calls: Path
) -> None:
    subprocess.run(IMAGE.command(demo, "fp32", Options()), check=True)
    for file in demo.file("engines/.container").glob("*.layers"):
        file.write_text(json.dumps({"Layers": [], "Bindings": ["input", "output"]}))

    with pytest.raises(EngineError, match="has other tensors than image_encoder"):
        IMAGE.build(demo, "fp32")

    assert number(calls) == 1
    assert not [a for a in Bundle.load(demo.path).info.artifacts if a.engine]
