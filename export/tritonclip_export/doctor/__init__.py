"""What this machine and this environment have, what they lack for which task, and how to get it.

Every check stands alone and none can fail: what cannot be determined is reported as such. Nothing
here imports a heavy library; packages are judged by their metadata.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from tritonclip_export.doctor import machine, packages, running
from tritonclip_export.doctor.check import Check
from tritonclip_export.server.tritonserver import ServerMissingError


def diagnose(url: str | None = None) -> list[Check]:
    """Look at everything, in the order in which a person would ask.

    Args:
        url: of a server to ask; None for the one at the usual address, if there is one.
    """
    checks: dict[str, Callable[[], Check]] = {
        "python": packages.python,
        **{
            f"packages: {extra}": functools.partial(packages.installed, extra)
            for extra in packages.PACKAGES
        },
        "numpy for the server": packages.numpy,
        "libpython": packages.libpython,
        "tritonserver": packages.server,
        "shared memory": machine.shared_memory,
        "ports": machine.ports,
        "cpu": machine.cpu,
        "memory": machine.memory,
        "gpu": machine.gpu,
        "docker": machine.docker,
        "nvidia container toolkit": machine.container_toolkit,
        running.NAME: functools.partial(running.server, url),
    }
    found = {name: _safely(name, check) for name, check in checks.items()}
    return [*found.values(), *(_possible(task, found) for task in TASKS)]


def _safely(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except ServerMissingError as error:
        return Check(name, "missing", error.problem, error.remedy)
    except Exception as error:  # a doctor who faints helps nobody
        return Check(name, "warn", f"could not be determined: {type(error).__name__}: {error}")


@dataclass(frozen=True)
class Task:
    """Something to do here, the checks it rests on, and the command that does it."""

    name: str
    needs: tuple[str, ...]
    command: str


# `python` and `openvino` run on the server from PyPI, the other runtimes in NVIDIA's container, and
# `onnxruntime` there also without a GPU.
_IN_CONTAINER = ("gpu", "docker", "nvidia container toolkit")
TASKS = (
    Task("runtime: python", ("tritonserver", "packages: serve"), "tritonclip serve REPOSITORY"),
    Task("runtime: onnxruntime", ("docker",), "tritonclip serve REPOSITORY --container"),
    Task("runtime: tensorrt", _IN_CONTAINER, "tritonclip serve REPOSITORY --container --gpus all"),
    Task(
        "runtime: openvino",
        ("tritonserver", "packages: serve", "packages: openvino"),
        "tritonclip serve REPOSITORY",
    ),
    Task("engines: here", ("gpu", "packages: tensorrt"), "tritonclip build BUNDLE"),
    Task("engines: in the container", _IN_CONTAINER, "tritonclip build BUNDLE --container"),
    Task(
        "engines: ahead of time",
        ("packages: tensorrt-rtx",),
        "tritonclip build BUNDLE --aot --target sm89",
    ),
)


def _possible(task: Task, found: dict[str, Check]) -> Check:
    """Whether `task` would work here, judged from the other checks."""
    broken = [found[name] for name in task.needs if found[name].status == "missing"]
    if not broken:
        return Check(task.name, "ok", f"`{task.command}`")
    remedies = list(dict.fromkeys(check.remedy for check in broken))
    if "gpu" in task.needs and found["gpu"].status == "missing":
        remedies = ["use a machine with an NVIDIA GPU"]
    lacks = ", ".join(check.name for check in broken)
    return Check(task.name, "missing", f"lacks {lacks}", "; ".join(remedies))
