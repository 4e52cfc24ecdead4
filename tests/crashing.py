"""Kills `assemble` at each of its file operations, and looks at what is left.

A program of its own, because it forks: a child that ends itself at the nth operation cleans nothing
up, as after `kill -9`. Its arguments are a folder, `all` for every operation or `publishing` for
those on the repository itself, and which changes to try. Prints how many crashes each has survived.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hollow_bundle import hollow_bundle
from tritonclip_export.bundle import Bundle
from tritonclip_export.repository import publishing
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.served.parameters import Limits

KILLED = 9
CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod"}

Step = Callable[[Path], object]


def steps(first: Bundle, second: Bundle) -> dict[str, tuple[Step, Step]]:
    """Changes of a repository: how it was made, and what is done to it."""

    def one(repository: Path) -> object:
        return assemble([first], repository, runtime="python")

    def both(repository: Path) -> object:
        return assemble([first, second], repository, runtime="python")

    def limited(repository: Path) -> object:
        limits = Limits(max_image_bytes=1000)
        return assemble([first], repository, runtime="python", limits=limits)

    def pruned(repository: Path) -> object:
        return assemble([second], repository, runtime="python", prune=True)

    return {
        "begun": (lambda _: None, one),
        "changed": (one, limited),
        "added to": (one, both),
        "pruned": (both, pruned),
    }


def models(repository: Path) -> dict[str, dict[str, bytes]]:
    """Each model with all its files, as a server finds them."""
    return {
        folder.name: {
            str(file.relative_to(folder)): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
        for folder in sorted(repository.glob("[!.]*"))
    }


def crash_at(number: int, step: Step, repository: Path, *, publishing_only: bool) -> bool:
    """Run `step` in a process that dies before its nth operation; whether it came so far."""
    child = os.fork()
    if child == 0:
        die_at(number, str(repository), publishing_only=publishing_only)
        step(repository)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED), code
    return code == KILLED


def die_at(number: int, repository: str, *, publishing_only: bool) -> None:
    left = [number]

    def count(*_: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            os._exit(KILLED)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
        if not (event in CHANGES or writes):
            return
        paths = [os.fspath(a) for a in arguments if isinstance(a, str | bytes | os.PathLike)]
        if not publishing_only or any(str(path).startswith(repository + "/") for path in paths):
            count()

    exchange = publishing.replace_folder

    def watched(new: Path, target: Path) -> None:
        count()
        exchange(new, target)
        count()

    publishing.replace_folder = watched
    sys.addaudithook(hook)


def survived(folder: Path, before: Step, step: Step, *, publishing_only: bool) -> Iterator[int]:
    """Crash at each operation in turn, and check the repository after each."""
    old, new = folder / "old", folder / "new"
    before(old)
    old.mkdir(exist_ok=True)
    shutil.copytree(old, new)
    step(new)
    was, will_be = models(old), models(new)
    for number in range(1, 10_000):
        work = folder / "work"
        shutil.copytree(old, work)
        crashed = crash_at(number, step, work, publishing_only=publishing_only)
        found = models(work)
        for name, files in found.items():
            assert files in (was.get(name), will_be.get(name)), f"half of {name} at {number}"
        lost = (was.keys() & will_be.keys()) - found.keys()
        assert not lost, f"{lost} lost at {number}"
        step(work)
        assert models(work) == will_be, f"not mended after {number}"
        left_over = [p.name for p in folder.glob(".*")] + [p.name for p in work.glob(".*")]
        assert not left_over, f"{left_over} left at {number}"
        shutil.rmtree(work)
        if not crashed:
            return
        yield number


def main(folder: Path, mode: str, *changes: str) -> None:
    bundles = [hollow_bundle(folder / name, name) for name in ("first", "second")]
    counts = {}
    known = steps(*bundles)
    for what in changes:
        before, step = known[what]
        place = folder / what
        place.mkdir()
        crashes = survived(place, before, step, publishing_only=mode == "publishing")
        counts[what] = sum(1 for _ in crashes)
    print(json.dumps(counts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
