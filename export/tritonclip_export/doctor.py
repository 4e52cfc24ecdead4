"""What this machine and this environment have, what they lack for which task, and how to get it.

Every check stands alone and none can fail: what cannot be determined is reported as such. Nothing
here imports a heavy library; packages are judged by their metadata.
"""

import functools
import importlib.metadata
import json
import os
import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tritonclip_export import tritonserver
from tritonclip_export.tritonserver import ServerMissingError

Status = Literal["ok", "warn", "missing"]

# The packages whose absence each task would notice first. `client` is the bare install; the others
# say how they are installed.
PACKAGES: dict[str, tuple[str, ...]] = {
    "client": ("numpy", "pillow", "tritonclient", "grpcio", "typer", "rich"),
    "export": ("torch", "torchvision", "open_clip_torch", "onnx", "onnxscript", "onnxruntime"),
    "serve": ("nvidia-pytriton", "onnxruntime", "tokenizers", "ftfy"),
    "tensorrt": ("tensorrt", "polygraphy"),
    "gpu": ("onnxruntime-gpu",),
}
INSTALL = {
    "client": "pip install tritonclip",
    "export": 'pip install "tritonclip[export]"',
    "serve": tritonserver.INSTALL,
    "tensorrt": "pip install tensorrt polygraphy",
    # Both packages own the module `onnxruntime`: together they break each other.
    "gpu": "pip uninstall -y onnxruntime && pip install onnxruntime-gpu",
}
_STAND_INS = {"onnxruntime": "onnxruntime-gpu"}

DOCKER = "https://docs.docker.com/engine/install/"
TOOLKIT = (
    "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html"
)
# What a batch of images on its way between two Python models takes, with room for several.
SHM_BYTES = 512 * 2**20
MEMORY_BYTES = 4 * 2**30
# NVIDIA's images since 25.08 support no older GPU.
COMPUTE_CAPABILITY = 7.5


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        status: `ok`; `warn` for what works with limits; `missing`.
        found: what is there.
        remedy: what to do; empty where nothing needs doing.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""


def diagnose() -> list[Check]:
    """Look at everything, in the order in which a person would ask."""
    checks: dict[str, Callable[[], Check]] = {
        "python": _python,
        **{f"packages: {extra}": functools.partial(_packages, extra) for extra in PACKAGES},
        "numpy for the server": _numpy,
        "libpython": _libpython,
        "tritonserver": _tritonserver,
        "shared memory": _shared_memory,
        "ports": _ports,
        "cpu": _cpu,
        "memory": _memory,
        "gpu": _gpu,
        "docker": _docker,
        "nvidia container toolkit": _container_toolkit,
    }
    found = {name: _safely(name, check) for name, check in checks.items()}
    return [*found.values(), *_runtimes(found)]


def _safely(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except ServerMissingError as error:
        return Check(name, "missing", error.problem, error.remedy)
    except Exception as error:  # a doctor who faints helps nobody
        return Check(name, "warn", f"could not be determined: {type(error).__name__}: {error}")


def _python() -> Check:
    found = f"{platform.python_implementation()} {platform.python_version()}"
    found += f" on {platform.system()} {platform.machine()}"
    if ".".join(platform.python_version_tuple()[:2]) in tritonserver.PYTHONS:
        return Check("python", "ok", found)
    return Check(
        "python",
        "warn",
        found,
        f"client and export run here; the server from PyPI needs one of "
        f"{', '.join(tritonserver.PYTHONS)}",
    )


def _packages(extra: str) -> Check:
    versions = {
        package: _version(package) or _version(_STAND_INS.get(package, package))
        for package in PACKAGES[extra]
    }
    absent = [package for package, version in versions.items() if version is None]
    present = ", ".join(f"{package} {version}" for package, version in versions.items() if version)
    if not absent:
        return Check(f"packages: {extra}", "ok", present)
    found = f"no {', '.join(absent)}" + (f"; {present}" if present else "")
    return Check(f"packages: {extra}", "missing", found, INSTALL[extra])


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numpy() -> Check:
    return Check("numpy for the server", "ok", f"numpy {tritonserver.check_numpy()}")


def _libpython() -> Check:
    folders = tritonserver.libpython_folder()
    return Check("libpython", "ok", str(folders[0]) if folders else "known to the system's loader")


def _tritonserver() -> Check:
    server = tritonserver.locate()
    tried = subprocess.run(
        [server.binary, "--help"],
        env=server.environment(os.environ),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    if "Usage: tritonserver" not in tried.stdout + tried.stderr:
        reason = (tried.stderr or tried.stdout).strip().splitlines()
        raise ServerMissingError(
            f"tritonserver does not run: {reason[0] if reason else tried.returncode}",
            f"it needs glibc {tritonserver.GLIBC} or newer; {tritonserver.CONTAINER}",
        )
    return Check("tritonserver", "ok", f"runs, from nvidia-pytriton {server.version}")


def _shared_memory() -> Check:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Check("shared memory", "warn", "no /dev/shm", tritonserver.CONTAINER)
    space = os.statvfs(folder)
    size, free = space.f_frsize * space.f_blocks, space.f_frsize * space.f_bavail
    found = f"/dev/shm of {_gib(size)}, {_gib(free)} free"
    if free >= SHM_BYTES:
        return Check("shared memory", "ok", found)
    return Check(
        "shared memory",
        "warn",
        found,
        "in a container, start it with --shm-size=1g; elsewhere, remove what fills /dev/shm",
    )


def _ports() -> Check:
    busy = [port for port in (8000, 8001, 8002) if _is_busy(port)]
    if not busy:
        return Check("ports", "ok", "8000, 8001 and 8002 are free")
    return Check(
        "ports",
        "warn",
        f"taken: {', '.join(map(str, busy))}",
        "`tritonclip serve` takes free ones instead; `ss -ltnp` names who has these",
    )


def _is_busy(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _cpu() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    found = f"{cores} x {model[1] if model else platform.processor() or platform.machine()}"
    if flags is None:
        return Check("cpu", "ok", found)
    features = cpu_features(flags[1].split())
    found += f": {', '.join(features) or 'no AVX-512, VNNI, BF16 or AMX'}"
    if "VNNI" in features:
        return Check("cpu", "ok", found)
    return Check("cpu", "warn", found, "INT8 gains little without VNNI: prefer FP32 on this CPU")


def cpu_features(flags: Iterable[str]) -> list[str]:
    """The features that decide how fast an encoder runs, from the kernel's names of flags."""
    present = set(flags)
    features = {
        "AVX2": {"avx2"},
        "AVX-512": {"avx512f"},
        "VNNI": {"avx512_vnni", "avx_vnni"},
        "BF16": {"avx512_bf16"},
        "AMX": {"amx_tile"},
    }
    return [name for name, any_of in features.items() if any_of & present]


def _memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = _gib(total)
    information = Path("/proc/meminfo")
    if information.exists():
        free = re.search(r"MemAvailable:\s+(\d+) kB", information.read_text())
        found += f", {_gib(int(free[1]) * 1024)} available" if free else ""
    if total >= MEMORY_BYTES:
        return Check("memory", "ok", found)
    return Check("memory", "warn", found, "export needs about 4 GiB for a ViT-B, more for an L")


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _gpu() -> Check:
    if shutil.which("nvidia-smi") is None:
        return Check(
            "gpu",
            "missing",
            "no NVIDIA driver (no nvidia-smi)",
            "python and onnxruntime run without one",
        )
    listed = _run(
        "nvidia-smi",
        "--query-gpu=name,compute_cap,memory.total,driver_version",
        "--format=csv,noheader",
    )
    if listed.returncode != 0 or not listed.stdout.strip():
        problem = (listed.stdout + listed.stderr).strip()
        return Check("gpu", "missing", f"nvidia-smi: {problem}", "install or reload the driver")
    gpus = [tuple(map(str.strip, line.split(","))) for line in listed.stdout.splitlines()]
    found = "; ".join(
        f"{name}, compute capability {capability}, {memory}, driver {driver}"
        for name, capability, memory, driver in gpus
    )
    if min(float(capability) for _, capability, _, _ in gpus) >= COMPUTE_CAPABILITY:
        return Check("gpu", "ok", found)
    return Check(
        "gpu", "warn", found, f"NVIDIA's images need compute capability {COMPUTE_CAPABILITY}"
    )


def _docker() -> Check:
    if shutil.which("docker") is None:
        return Check("docker", "missing", "no docker", DOCKER)
    asked = _run("docker", "version", "--format", "{{.Server.Version}}")
    if asked.returncode != 0:
        problem = asked.stderr.strip().splitlines()
        return Check(
            "docker",
            "missing",
            f"the client is there, the daemon does not answer: {problem[-1] if problem else ''}",
            "start the daemon (`sudo systemctl start docker`), or join the group `docker`",
        )
    return Check("docker", "ok", f"Docker {asked.stdout.strip()}")


def _container_toolkit() -> Check:
    name = "nvidia container toolkit"
    if shutil.which("docker") is not None:
        asked = _run("docker", "info", "--format", "{{json .Runtimes}}")
        if asked.returncode == 0 and "nvidia" in json.loads(asked.stdout or "null"):
            return Check(name, "ok", "docker has the runtime `nvidia`")
    if shutil.which("nvidia-ctk") is None:
        return Check(name, "missing", "no nvidia-ctk, no runtime `nvidia` in docker", TOOLKIT)
    return Check(
        name,
        "warn",
        "nvidia-ctk is there, docker does not know it",
        "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker",
    )


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


# Runtime -> the checks it rests on. `python` runs on the server from PyPI, the others in NVIDIA's
# container; `onnxruntime` does there without a GPU.
_NEEDS = {
    "python": ("tritonserver", "packages: serve"),
    "onnxruntime": ("docker",),
    "tensorrt": ("gpu", "docker", "nvidia container toolkit"),
}


def _runtimes(found: dict[str, Check]) -> list[Check]:
    """Whether each runtime would work here, judged from the other checks."""
    checks = []
    for runtime, needs in _NEEDS.items():
        broken = [found[name] for name in needs if found[name].status == "missing"]
        container = "" if runtime == "python" else " --container"
        if not broken:
            serve = f"tritonclip serve REPOSITORY{container}"
            checks.append(Check(f"runtime: {runtime}", "ok", f"`{serve}`"))
            continue
        problems = "; ".join(check.found for check in broken)
        remedies = list(dict.fromkeys(check.remedy for check in broken))
        if runtime == "tensorrt" and found["gpu"].status == "missing":
            remedies = ["use a machine with an NVIDIA GPU"]
        checks.append(Check(f"runtime: {runtime}", "missing", problems, "; ".join(remedies)))
    return checks
