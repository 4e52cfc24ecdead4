"""The machine: shared memory, ports, CPU, memory, GPUs, containers."""

import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

from tritonclip_export.doctor.check import Check
from tritonclip_export.errors import EngineError
from tritonclip_export.machine import cpu as cpu_of_machine
from tritonclip_export.machine import gpus
from tritonclip_export.server import tritonserver
from tritonclip_export.tensorrt.capabilities import sm

DOCKER = "https://docs.docker.com/engine/install/"
TOOLKIT = (
    "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html"
)
# What a batch of images on its way between two Python models takes, with room for several.
SHM_BYTES = 512 * 2**20
MEMORY_BYTES = 4 * 2**30
# NVIDIA's images since 25.08 support no older GPU.
COMPUTE_CAPABILITY = 7.5
# The first that CUDA 13 runs on.
DRIVER = 580


def shared_memory() -> Check:
    """Whether /dev/shm has room for the tensors of Python models."""
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


def ports() -> Check:
    """Whether Triton's usual ports are free."""
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


def cpu() -> Check:
    """How many cores of which kind."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = cpu_of_machine.this()
    what = f"{cores} x {found.model}"
    if found.features is None:
        return Check("cpu", "ok", what)
    what += f": {', '.join(found.features) or 'no AVX-512, VNNI, BF16 or AMX'}"
    if found.multiplies_int8:
        return Check("cpu", "ok", what)
    return Check(
        "cpu", "warn", what, "without VNNI, INT8 gains little and is less exact: serve FP32 here"
    )


def memory() -> Check:
    """How much memory there is."""
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


def gpu() -> Check:
    """Which GPUs there are, and whether NVIDIA's images run on them."""
    try:
        found = gpus.listed()
    except EngineError as error:
        remedy = (
            "python and onnxruntime run without one; where there is one, its driver is missing: "
            "https://www.nvidia.com/drivers"
        )
        return Check("gpu", "missing", str(error), remedy)
    described = "; ".join(
        f"{gpu.name} ({sm(gpu.compute_capability)}), {gpu.memory}" for gpu in found
    )
    described += f"; driver {found[0].driver}"
    if min(float(gpu.compute_capability) for gpu in found) < COMPUTE_CAPABILITY:
        remedy = f"NVIDIA's images need compute capability {COMPUTE_CAPABILITY}"
        return Check("gpu", "warn", described, remedy)
    if int(found[0].driver.partition(".")[0]) < DRIVER:
        remedy = (
            f"images from 25.08 on are built for CUDA 13: update the driver to {DRIVER} or later "
            "(https://www.nvidia.com/drivers), or serve an older release with --tag"
        )
        return Check("gpu", "warn", described, remedy)
    return Check("gpu", "ok", described)


def docker() -> Check:
    """Whether there is a Docker that answers."""
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


def container_toolkit() -> Check:
    """Whether Docker gives containers the GPUs."""
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
