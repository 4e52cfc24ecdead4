"""What a search cannot do, each shown by what it answers.

    python -m benchmarks.studies.capabilities bundles/demo

The demo's drawings are indexed and asked; their names tell whether the answer is what was meant.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks import record
from benchmarks.drawings import drawings
from benchmarks.servers import served
from tritonclip import Client
from tritonclip_export.bundle import Bundle
from tritonclip_search import open_collection

TOP = 5
# What would have to be understood, and a query that asks for it. The drawings hold what each of
# them means: one cat and three, bearded men and others, the button with the B, squares and circles.
ASKED = (
    ("count", "three cats"),
    ("count", "exactly two hearts"),
    ("negate", "a man without a beard"),
    ("negate", "a cat, no face"),
    ("read", "the letter B"),
    ("read", "a sign with the word SOON"),
    ("relate in space", "a circle inside a square"),
    ("relate in space", "a cat on top of a dog"),
    ("tell left from right", "an arrow that points to the left"),
)


def main() -> None:
    """Ask the demo bundle and write the answers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    pictures = drawings()
    with (
        tempfile.TemporaryDirectory() as home,
        served(Bundle.load(parser.parse_args().bundle)) as server,
        Client(server.grpc_url) as client,
    ):
        names = {}
        for place, (name, file) in enumerate(pictures.items()):
            path = Path(home, "pictures", f"{place}.png")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(file)
            names[path.as_posix()] = name
        with open_collection(str(Path(home, "archive")), client) as archive:
            archive.add([Path(home, "pictures")])
            asked = [
                {
                    "ability": ability,
                    "query": query,
                    "hits": [names[hit.path] for hit in archive.search(query, top=TOP)],
                }
                for ability, query in ASKED
            ]
    for answer in asked:
        print(f"{answer['query']}: {', '.join(answer['hits'])}")
    print(record.save("capabilities", {"drawings": len(pictures), "asked": asked}))


if __name__ == "__main__":
    main()
