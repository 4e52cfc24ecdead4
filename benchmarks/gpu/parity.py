"""Half precision on real tensor cores, against FP32 on the CPU: our graphs, half() and autocast.

Figures are those of every parity in this project, on the inputs that `verify` measures on; for the
trained checkpoint also zero-shot over the drawing style that it has never seen.
"""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu import checkpoints, sessions
from benchmarks.gpu.journal import Journal
from benchmarks.gpu.plan import Scale
from tritonclip_export import samples
from tritonclip_export.bundle import TOWERS, Tower
from tritonclip_export.parity.inputs import Batches, Inputs
from tritonclip_export.parity.pairs import Pair, compare_pairs
from tritonclip_export.precision.running import fp32_embeddings, onnx_embeddings

WAYS = ("onnxruntime", "half", "autocast")


def measure(journal: Journal, scale: Scale, home: Path) -> None:
    """Every checkpoint, every way; the trained ones decide what each picture shows, too."""
    for name in scale.parity:
        subject = _Subject(name, scale, home, journal.seconds_left)
        for way in WAYS:
            journal.measure(f"{name} {way}", partial(subject.parity, way))
            if name in checkpoints.TRAINED:
                journal.measure(f"{name} zero-shot {way}", partial(subject.zero_shot, way))
        journal.measure(f"{name} placement", subject.placement)


class _Subject:
    """A checkpoint: its bundle, read when it is first asked, and what its FP32 graphs say."""

    def __init__(self, name: str, scale: Scale, home: Path, seconds: float) -> None:
        self._name, self._scale, self._home, self._seconds = name, scale, home, seconds

    def parity(self, way: str) -> dict[str, Any]:
        image, text = compare_pairs("fp16", self._reference, self._embed(way, self._samples))
        return {
            "image_of_spread": image.relative_to_spread,
            "image_min_cosine": image.min_cosine,
            "text_of_spread": text.relative_to_spread,
            "text_min_cosine": text.min_cosine,
            "retrieval": text.retrieval_agreement,
        }

    def zero_shot(self, way: str) -> dict[str, Any]:
        reference, decided = self._fp32_decisions, _decisions(self._embed(way, self._emoji))
        right = np.arange(len(decided))
        return {
            "images": len(decided),
            "top1": float((decided == right).mean()),
            "top1_fp32": float((reference == right).mean()),
            "decided_unlike_fp32": int((decided != reference).sum()),
        }

    def placement(self) -> dict[str, Any]:
        return {
            tower: sessions.placement(
                self._graph(tower), self._samples.of_tower(tower)[0], self._scale, self._home
            )
            for tower in TOWERS
        }

    @cached_property
    def _bundle(self) -> Any:
        return checkpoints.wait(self._home, self._name, self._seconds)

    @cached_property
    def _modules(self) -> Any:
        return checkpoints.modules(self._home, self._name)

    @cached_property
    def _samples(self) -> Batches:
        inputs = Inputs.read(samples.sample_images(), samples.sample_texts())
        return Batches.of(self._bundle, inputs)

    @cached_property
    def _emoji(self) -> Batches:
        with zipfile.ZipFile(checkpoints.DEMO / "twemoji.zip") as archive:
            labels: dict[str, str] = json.loads(archive.read("labels.json"))
            slugs = list(labels)[: self._scale.pictures]
            images = tuple(archive.read(f"{slug}.png") for slug in slugs)
        texts = tuple(f"the {labels[slug]} emoji" for slug in slugs)
        return Batches.of(self._bundle, Inputs(images, texts))

    @cached_property
    def _reference(self) -> Pair:
        return fp32_embeddings(self._bundle, self._samples)

    @cached_property
    def _fp32_decisions(self) -> Any:
        return _decisions(onnx_embeddings(self._bundle, self._emoji))

    def _graph(self, tower: Tower) -> Path:
        artifact = self._bundle.artifact(tower, precision=self._scale.precision)
        return Path(self._bundle.file(artifact.file))

    def _embed(self, way: str, batches: Batches) -> Pair:
        def embeddings(tower: Tower) -> Any:
            encode = self._encoder(way, tower)
            return np.concatenate([encode(batch) for batch in batches.of_tower(tower)])

        return Pair(embeddings("image"), embeddings("text"))

    def _encoder(self, way: str, tower: Tower) -> Callable[[Any], Any]:
        if way != "onnxruntime":
            return _in_torch(self._modules[tower], way, self._scale)
        session = sessions.open_session(self._graph(tower), self._scale)
        name = session.get_inputs()[0].name
        return lambda batch: session.run(None, {name: batch})[0]


def halved(encoder: torch.nn.Module) -> torch.nn.Module:
    """A copy whose tower is in half precision; pixels are normalised in FP32 before it."""
    encoder = copy.deepcopy(encoder)
    tower: Any = encoder.tower
    tower.half().register_forward_pre_hook(
        lambda _, given: tuple(x.half() if x.is_floating_point() else x for x in given)
    )
    return encoder


def _in_torch(encoder: torch.nn.Module, way: str, scale: Scale) -> Callable[[Any], Any]:
    """The encoder on the device, in half precision or under autocast: numpy in, numpy out."""
    module = (halved(encoder) if way == "half" else copy.deepcopy(encoder)).to(scale.device)

    @torch.inference_mode()
    def encode(batch: Any) -> Any:
        with torch.autocast(scale.device, torch.float16, enabled=way == "autocast"):
            return module(torch.from_numpy(batch).to(scale.device)).float().cpu().numpy()

    return encode


def _decisions(pair: Pair) -> Any:
    return np.nan_to_num(pair.images @ pair.texts.T, nan=-1.0).argmax(axis=1)
