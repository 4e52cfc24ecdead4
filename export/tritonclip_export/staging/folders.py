"""Folders that appear whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tritonclip_export.errors import DiskSpaceError, MountPointError

_AT_FDCWD = -100  # <fcntl.h>: resolve relative paths from the working directory
_RENAME_EXCHANGE = 2  # <linux/fs.h>


@contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """An empty hidden folder beside `target`, on the same file system, removed on leaving.

    What an earlier process was killed over is removed first.

    Raises:
        MountPointError: nothing beside `target` is on its file system.
        DiskSpaceError: the disk was full, or a limit reached, inside the block.
    """
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.stat().st_dev != target.parent.stat().st_dev:
        raise MountPointError(
            f"{target} is a mount point, and a folder can be replaced in one step only by one "
            f"beside it on the same file system; name a folder below it, like {target / 'models'}"
        )
    prefix = f".{target.name}.staging-"
    for left_over in target.parent.glob(f"{prefix}*"):
        if not _is_running(left_over.name.removeprefix(prefix).partition("-")[0]):
            shutil.rmtree(left_over, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=target.parent))
    folder.chmod(0o755)  # mkdtemp makes it private; a server may run as another user
    try:
        yield folder
    except Exception as error:
        if limit := _limit(error):
            raise DiskSpaceError(
                f"{limit} while it was written for {target}, which is as it was: free some, or "
                "use a folder on another disk, and run the same again"
            ) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def require_space(staging: Path, size: int) -> None:
    """Check that about `size` bytes fit into a staging folder.

    A full disk would otherwise show after the minutes that big towers take, in the words of
    whatever wrote last.

    Raises:
        DiskSpaceError: its disk has less left.
    """
    free = shutil.disk_usage(staging).free
    if free < size:
        raise DiskSpaceError(
            f"this takes about {size / 2**20:,.0f} MiB, and the disk of {staging.parent} has "
            f"{free / 2**20:,.0f} left: free some, or use a folder on another disk"
        )


def replace_folder(new: Path, target: Path) -> None:
    """Put `new` in the place of `target` in one step; what was there is left at `new`.

    Where the system cannot exchange two folders (anything but Linux), `target` is absent for the
    moment between two renames.
    """
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        new.rename(target)
    elif not _exchange(new, target):
        old = new.with_name(new.name + ".old")
        target.rename(old)
        new.rename(target)
        old.rename(new)


def _exchange(a: Path, b: Path) -> bool:
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    result = rename(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE)
    return int(result) == 0


# What a system says of a disk without space, and how libraries that aren't Python's repeat it.
_LIMITS = {
    errno.ENOSPC: ("No space left", "no space was left on the disk"),
    errno.EDQUOT: ("quota exceeded", "this user's quota of the disk was used up"),
    errno.EFBIG: ("File too large", "a file reached the limit of its size (`ulimit -f` shows it)"),
}


def _limit(error: Exception) -> str | None:
    for number, (sign, said) in _LIMITS.items():
        if (isinstance(error, OSError) and error.errno == number) or sign in str(error):
            return said
    return None


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass  # it runs, as another user
    return True
