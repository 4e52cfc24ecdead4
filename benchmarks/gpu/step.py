"""One step of the plan, in a process of its own: `run` starts it, and ends it if it takes long."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from benchmarks.gpu.journal import Journal, TimeIsUpError
from benchmarks.gpu.plan import CARD, REHEARSAL


def main() -> None:
    """Measure until all is done or the time is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    journal = Journal(options.results / f"{options.name}.jsonl", seconds=options.seconds)
    step = importlib.import_module(f"benchmarks.gpu.{options.name}")
    try:
        step.measure(journal, REHEARSAL if options.rehearse else CARD, options.home)
    except TimeIsUpError:
        print(f"{options.name}: time is up; the next run goes on from here")
    except Exception as error:  # a server that does not start, a bundle that does not come
        journal.fail("the rest", error)


if __name__ == "__main__":
    main()
