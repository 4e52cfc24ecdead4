"""Every entry of the catalogue, exported and checked with seeded random weights, one row each.

    python -m benchmarks.matrix                  # goes on where it stopped; stop it at any time
    python -m benchmarks.matrix RN50 chinese-clip-vit-base-patch16 --again

Rows lie in `results/catalogue/`, one JSON file each; after each the page is written. A row that
fails stays, with its reason.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import record
from benchmarks.catalogue import hub, process
from benchmarks.catalogue.rows import Row, read, title
from benchmarks.pages import models
from tritonclip_export.checkpoint import catalogue

STEPS = (sys.executable, "-m", "benchmarks.catalogue.steps")


def main() -> None:
    """Walk the catalogue."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="ARCHITECTURE", help="only these")
    parser.add_argument("--again", action="store_true", help="replace rows that are there")
    parser.add_argument("--failed", action="store_true", help="replace rows that failed")
    parser.add_argument("--rows", type=Path, default=record.RESULTS / "catalogue")
    parser.add_argument("--page", type=Path, default=record.DOCS / "models.md")
    parser.add_argument("--minutes", type=float, default=90, help="limit for a row")
    parser.add_argument("--memory", type=float, default=20, help="limit for a row, in GiB")
    options = parser.parse_args()
    options.rows.mkdir(parents=True, exist_ok=True)
    walk(options)


def walk(options: argparse.Namespace) -> None:
    """Run every row that is wanted and not there, smallest model first."""
    work = Path(tempfile.gettempdir()) / "tritonclip-matrix"
    work.mkdir(exist_ok=True)
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: another one runs
        shutil.rmtree(work / "hub", ignore_errors=True)
        files = hub.write_files(work / "hub")
        for entry in sorted(catalogue.search(), key=lambda entry: entry.parameters):
            rows = read(options.rows)
            if not _wanted(entry.architecture, rows, options):
                continue
            rows.pop(entry.architecture, None)  # it is replaced, what it served as well
            serve = not any(
                row.family == entry.family and "served image" in row.facts.get("parity", {})
                for row in rows.values()
            )
            row = process.run(
                Row(architecture=entry.architecture, family=entry.family),
                work / "row",
                [*STEPS, *(["--serve"] if serve else []), str(files)],
                minutes=options.minutes,
                memory_gib=options.memory,
            )
            row.save(options.rows / row.file_name)
            render(options)
            what = "passed" if row.passed else f"FAILED: {row.reason[:200]}"
            cost = f"{row.cpu_seconds:.0f} s, {row.peak_mib} MiB"
            print(f"{title(row.architecture)}: {cost}, {what}", flush=True)


def _wanted(architecture: str, rows: dict[str, Row], options: argparse.Namespace) -> bool:
    if options.names and title(architecture) not in options.names:
        return False
    known = rows.get(architecture)
    return known is None or options.again or (options.failed and not known.passed)


def render(options: argparse.Namespace) -> None:
    """Write the page from the rows there are."""
    page = models.render(catalogue.search(), read(options.rows), catalogue.open_clip_version())
    options.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
