import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tritonclip_export.doctor import diagnose
from tritonclip_export.doctor.check import Check
from tritonclip_export.doctor.packages import INSTALL, PACKAGES
from tritonclip_export.machine.cpu import features
from tritonclip_export.server import tritonserver
from tritonclip_export.server.server import Server

ROOT = Path(__file__).parents[2]
EVERY_CHECK = {
    *("python", "numpy for the server", "libpython", "tritonserver"),
    "running server",
    *("shared memory", "ports", "cpu", "memory", "gpu", "docker", "nvidia container toolkit"),
    *(f"packages: {extra}" for extra in PACKAGES),
    *(f"runtime: {name}" for name in ("python", "onnxruntime", "tensorrt", "openvino")),
    *(f"engines: {where}" for where in ("here", "in the container", "ahead of time")),
}


def findings() -> dict[str, Check]:
    return {check.name: check for check in diagnose()}


@pytest.fixture(scope="module")
def here() -> dict[str, Check]:
    return findings()


@pytest.mark.skipif(
    ".".join(platform.python_version_tuple()[:2]) not in tritonserver.PYTHONS
    or (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="the server from PyPI does not run here",
)
def test_this_machine_can_serve_with_the_python_runtime(here: dict[str, Check]) -> None:
    assert here["packages: client"].status == "ok"
    assert here["packages: serve"].status == "ok"
    assert here["tritonserver"].status == "ok"
    assert "0.7" in here["tritonserver"].found
    assert here["runtime: python"] == Check(
        "runtime: python", "ok", "`tritonclip serve REPOSITORY`"
    )


def determined(found: dict[str, Check]) -> set[str]:
    return {name for name, check in found.items() if "could not be determined" not in check.found}


def test_whatever_is_not_fine_has_a_remedy(here: dict[str, Check]) -> None:
    fine = {name for name, check in here.items() if check.status == "ok"}
    remedied = {name for name, check in here.items() if check.remedy}

    assert fine | remedied == EVERY_CHECK


def test_every_check_of_this_machine_is_determined(here: dict[str, Check]) -> None:
    assert determined(here) == EVERY_CHECK


def test_a_bare_machine_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    monkeypatch.setattr("importlib.metadata.version", _nothing_is_installed)
    monkeypatch.setattr("pathlib.Path.exists", lambda _: False)  # no /proc
    monkeypatch.setattr("pathlib.Path.is_dir", lambda _: False)  # no /dev/shm
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setenv("PATH", "")

    bare = findings()

    assert bare["packages: export"].remedy == 'pip install "tritonclip[export]"'
    assert "not for Darwin on arm64" in bare["tritonserver"].found
    assert bare["docker"].remedy == "https://docs.docker.com/engine/install/"
    assert bare["runtime: python"].status == "missing"
    assert "--container" in bare["runtime: python"].remedy
    assert bare["runtime: tensorrt"].remedy == "use a machine with an NVIDIA GPU"
    assert determined(bare) == EVERY_CHECK


def _nothing_is_installed(package: str) -> str:
    import importlib.metadata

    raise importlib.metadata.PackageNotFoundError(package)


def test_a_gpu_machine_is_told_what_it_can_build_and_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With stand-ins for nvidia-smi and docker: there is no GPU where these tests run."""
    answers = {
        "nvidia-smi": "NVIDIA L4, 8.9, 23034 MiB, 570.86",
        "docker": """$([ "$1" = info ] && echo '{"nvidia": {}}' || echo 28.0)""",
    }
    for name, answer in answers.items():
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{answer}"\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    versions = {"tensorrt": "10.9.0.34", "polygraphy": "0.53.6"}
    monkeypatch.setattr("importlib.metadata.version", lambda name: versions.get(name, "1.0"))

    machine = findings()

    assert machine["gpu"].found == "NVIDIA L4 (sm89), 23034 MiB; driver 570.86"
    assert "update the driver to 580" in machine["gpu"].remedy
    assert machine["runtime: tensorrt"].status == "ok"
    assert machine["engines: in the container"].found == "`tritonclip build BUNDLE --container`"
    assert machine["packages: tensorrt"].found.startswith("TensorRT 10.9.0.34 is too old")
    assert machine["engines: here"].remedy == 'pip install "tensorrt>=10.12"'
    assert "--aot" in machine["engines: ahead of time"].found


def test_a_running_server_is_asked_whether_its_models_embed(server: Server) -> None:
    asked = {check.name: check for check in diagnose(server.grpc_url)}["running server"]

    assert asked.status == "ok"
    names = ("chinese_clip", "demo", "resnet", "siglip")
    assert asked.found == f"{server.grpc_url}: " + "; ".join(f"{name} embeds" for name in names)


def test_a_server_that_is_not_there_is_said_with_what_starts_one() -> None:
    asked = {check.name: check for check in diagnose("http://127.0.0.1:1")}["running server"]

    assert asked.status == "missing"
    assert "no server at http://127.0.0.1:1" in asked.found
    assert "tritonclip serve" in asked.remedy


def test_a_check_that_breaks_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> int:
        raise ValueError("no such setting")

    monkeypatch.setattr("os.sysconf", broken)

    found = findings()

    assert found["memory"].found == "could not be determined: ValueError: no such setting"
    assert found["python"].status == "ok"


def test_the_packages_are_those_of_the_extras() -> None:
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {"client": project["dependencies"], **project["optional-dependencies"]}

    for extra, packages in PACKAGES.items():
        requirements = " ".join(declared.get(extra, packages))
        # grpcio comes with tritonclient[grpc].
        assert [p for p in packages if p not in requirements and p != "grpcio"] == []
        if f"tritonclip[{extra}]" in INSTALL[extra]:
            assert extra in declared


def test_cpu_features_are_named_as_people_know_them() -> None:
    flags = ["fpu", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8"]

    assert features(flags) == ("AVX2", "AVX-512", "VNNI", "BF16", "AMX")
    assert features(["fpu", "avx2", "avx_vnni"]) == ("AVX2", "VNNI")
    assert features([]) == ()


def test_the_doctor_imports_nothing_heavy() -> None:
    heavy = ["torch", "onnx", "onnxruntime", "open_clip", "numpy", "pytriton"]
    code = "import sys, tritonclip; before = set(sys.modules);"
    code += "from tritonclip_export.doctor import diagnose; diagnose();"
    code += f"print(sorted(set({heavy}) & (set(sys.modules) - before)))"

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "[]\n"
