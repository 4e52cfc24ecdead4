"""What texts beyond the context length find: cut off, as a mean of windows, and by the best window.

Documents are made of the names of drawings that the demo checkpoint has never seen: lists of them,
sentences about them, and prose that comes to its one drawing in the last sentence. A document that
names n drawings should find them among all 1,940; what counts is how many of the n are among the n
that are most similar to it.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import record
from servers import served
from tritonclip import Client
from tritonclip_export.bundle import Bundle
from tritonclip_export.repository.execution import Execution
from tritonclip_export.served import code

TWEMOJI = Path(__file__).parents[1] / "demo" / "twemoji.zip"
DOCUMENTS = 300
PROSE = (
    "This page was written on a quiet morning, long before anybody else had come to work. "
    "It says little of interest, and takes up the place that other pages give to their news. "
)
# Kind of document: drawings it names, what it begins with, how each is named, what is between.
KINDS: dict[str, tuple[int, str, str, str]] = {
    "5 sentences": (5, "", "a picture of {}.", " "),
    "10 sentences": (10, "", "a picture of {}.", " "),
    "20 sentences": (20, "", "a picture of {}.", " "),
    "a list of 10": (10, "", "{}", ", "),
    "a list of 20": (20, "", "{}", ", "),
    "prose, then one sentence": (1, PROSE, "a picture of {}.", " "),
}


def main() -> None:
    """Measure a bundle of the demo checkpoint and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    bundle = Bundle.load(parser.parse_args().bundle)
    with zipfile.ZipFile(TWEMOJI) as archive:
        labels: dict[str, str] = json.loads(archive.read("labels.json"))
        files = [archive.read(f"{slug}.png") for slug in labels]
    names = list(labels.values())
    figures = {}
    with (
        served(bundle, Execution(precision="fp32")) as server,
        Client(server.grpc_url) as client,
    ):
        images = client.embed_images(files)
        for kind, (n, before, form, between) in KINDS.items():
            random = np.random.default_rng(0)
            named = np.stack(
                [random.choice(len(names), n, replace=False) for _ in range(DOCUMENTS)]
            )
            texts = [before + between.join(form.format(names[i]) for i in row) for row in named]
            figures[kind] = _lengths(bundle, texts) | _found(client, images, texts, named)
            print(kind, figures[kind], flush=True)
    print(record.save("long-texts", {"documents": DOCUMENTS, **figures}))


def _lengths(bundle: Bundle, texts: list[str]) -> dict[str, float]:
    windows = code.text_windows(bundle.info.text, bundle.path)
    special = len(windows("")[0])
    split = [windows(text) for text in texts]
    return {
        "tokens": float(np.mean([sum(len(w) - special for w in rows) + special for rows in split])),
        "windows": float(np.mean([len(rows) for rows in split])),
    }


def _found(
    client: Client, images: npt.NDArray[np.float32], texts: list[str], named: npt.NDArray[Any]
) -> dict[str, float]:
    """Share of the named drawings that are found, for each way to embed a text."""
    similarity = {
        "cut": client.embed_texts(texts) @ images.T,
        "mean": client.embed_texts(texts, long="mean") @ images.T,
        "best window": np.stack([(w @ images.T).max(axis=0) for w in client.embed_windows(texts)]),
    }
    n = named.shape[1]
    return {
        way: float(
            np.mean(
                [
                    np.isin(row, np.argsort(-s)[:n]).mean()
                    for row, s in zip(named, scores, strict=True)
                ]
            )
        )
        for way, scores in similarity.items()
    }


if __name__ == "__main__":
    main()
