"""The pages of `docs/` that show figures, written anew from the results that there are.

python -m benchmarks.render
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from benchmarks import record
from benchmarks.gpu import page as gpu
from benchmarks.pages import (
    bulk,
    changes,
    comparison,
    fleet,
    gateway,
    limits,
    models,
    moderation,
    performance,
    preprocessing,
    reliability,
    scaling,
    search,
    stores,
    video,
)

PAGES = (
    *(performance, comparison, limits, models, preprocessing, search, stores, moderation, fleet),
    *(video, reliability, gateway, changes, scaling, gpu, bulk),
)


def main() -> None:
    """Write every page and plot."""
    for name, content in rendered(record.RESULTS).items():
        file = record.DOCS / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        print(file)


def rendered(results: Path) -> dict[str, str]:
    """Pages and plots by their path below `docs/`; what was not measured has none.

    Args:
        results: the folder with the result files.
    """
    return dict(chain.from_iterable(page.pages(results) for page in PAGES))


if __name__ == "__main__":
    main()
