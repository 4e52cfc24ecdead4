"""How many cores this server may use, which is often fewer than its machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def usable(cgroups: Path = CGROUPS, own: Path = OWN) -> int:
    """The cores that this process may run on, or as many as its share of time is worth.

    The former is limited by taskset and by a container's cpuset, the latter by `docker run --cpus`
    and a Kubernetes limit: more threads than that only wait for each other's turn.
    """
    return max(1, math.ceil(min(_quota(cgroups, own), _allowed())))


def threads(wanted: int) -> int:
    """How many to ask a library for that takes 0 for one on each of the machine's cores.

    It does not know of limits, and would bind threads to cores that are another's.
    """
    cores = usable()
    return cores if wanted == 0 and cores < (os.cpu_count() or 1) else wanted


def streams(wanted: int) -> int:
    """How many threads that is, where a library is not asked but each runs for itself."""
    return wanted or usable()


def _allowed() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux; the toolchain reads this file elsewhere, too
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(cgroups: Path, own: Path) -> float:
    """Cores' worth of time that this process's group gets, by cgroups(7); inf without a limit."""
    for line in own.read_text().splitlines() if own.is_file() else []:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        home = cgroups / "cpu" if controllers else cgroups
        # A container sees its own group as the root, though its path may be that on the machine.
        for group in (home / path.lstrip("/"), home):
            if (quota := _read(group, is_version_1=bool(controllers))) is not None:
                return quota
    return math.inf


def _read(group: Path, *, is_version_1: bool) -> float | None:
    try:
        if is_version_1:
            files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = (group.joinpath(file).read_text().strip() for file in files)
        else:
            quota, period = group.joinpath("cpu.max").read_text().split()
    except FileNotFoundError:
        return None
    return math.inf if quota in ("max", "-1") else int(quota) / int(period)
