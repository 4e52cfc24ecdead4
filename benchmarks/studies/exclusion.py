"""What excludes a thing from a search: the word "no", or its vector taken away.

    python -m benchmarks.studies.exclusion bundles/demo

For some pairs of a wanted and an unwanted thing, the first 20 of the demo's drawings are looked at:
how many of them have the unwanted thing in their name, and how many of those that were found
without any exclusion, and lack it, are still there. Pairs of which a plain search shows none are
left out.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np

from benchmarks import record
from benchmarks.drawings import drawings
from benchmarks.servers import served
from tritonclip import Client
from tritonclip.types import FloatArray
from tritonclip_export.bundle import Bundle

TOP = 20
STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.5)
PAIRS = (
    ("a cat", "face"),
    ("a person", "woman"),
    ("a person", "man"),
    ("a person running", "woman"),
    ("a woman", "hair"),
    ("a family", "girl"),
    ("a hand", "finger"),
    ("a heart", "red"),
    ("a heart", "arrow"),
    ("a clock", "thirty"),
    ("a fruit", "apple"),
    ("a vehicle", "car"),
    ("an animal face", "cat"),
    ("a square", "black"),
    ("a circle", "red"),
    ("a book", "blue"),
)


def main() -> None:
    """Measure the demo bundle and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    files = drawings()
    names = list(files)
    shown: dict[str, list[int]] = {}
    kept: dict[str, list[int]] = {}
    with served(Bundle.load(parser.parse_args().bundle)) as server, Client(server.grpc_url) as clip:
        pictures = clip.embed_images(list(files.values()))
        for wanted, unwanted in PAIRS:
            has = np.array([bool(re.search(rf"\b{unwanted}", name)) for name in names])
            ways = _ways(clip, wanted, unwanted)
            first = {way: np.argsort(-(pictures @ query))[:TOP] for way, query in ways.items()}
            good = {place for place in first["plain"] if not has[place]}
            if len(good) == TOP:
                continue
            for way, places in first.items():
                shown.setdefault(way, []).append(int(has[places].sum()))
                kept.setdefault(way, []).append(len(good & set(places)))
    figures = {
        way: {"unwanted": float(np.mean(shown[way])), "kept": float(np.mean(kept[way]))}
        for way in shown
    }
    for way, figure in figures.items():
        print(f"{way:24} unwanted {figure['unwanted']:5.2f}  kept {figure['kept']:5.2f}")
    print(record.save("exclusion", {"pairs": len(shown["plain"]), "top": TOP, "ways": figures}))


def _ways(clip: Client, wanted: str, unwanted: str) -> dict[str, FloatArray]:
    """Queries for the one thing without the other, unit vectors [dim]."""
    q, no, without, not_, n = clip.embed_texts(
        [
            wanted,
            f"{wanted}, no {unwanted}",
            f"{wanted} without {unwanted}",
            f"{wanted} that is not {unwanted}",
            unwanted,
        ]
    )
    ways = {"plain": q, "A, no B": no, "A without B": without, "A that is not B": not_}
    for strength in STRENGTHS:
        ways[f"q - {strength} n"] = _unit(q - strength * n)
        ways[f"q - {strength} (n - (n.q) q)"] = _unit(q - strength * (n - (n @ q) * q))
    return ways


def _unit(vector: FloatArray) -> FloatArray:
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


if __name__ == "__main__":
    main()
