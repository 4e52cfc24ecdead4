"""A bundle's image encoder in the worker's own process, with ONNX Runtime and no server."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tritonclip.errors import ClientClosed
from tritonclip_bulk.embedder import Answer, Model
from tritonclip_export.bundle import Bundle
from tritonclip_export.graph.encoder import Encoder
from tritonclip_export.served import code
from tritonclip_export.served.parameters import Limits
from tritonclip_search.space import Space
from tritonclip_search.vector_files import Origin


@dataclass(frozen=True)
class InProcess:
    """A bundle, on a path that every worker has."""

    bundle: Path
    precision: str = "fp32"
    batch: int = 16

    def look(self) -> Model:
        """See `Recipe`."""
        info = Bundle.load(self.bundle).info
        space = Space(info.source.reference, info.source.weights_sha256, info.dim, "exact")
        origin = Origin(space, self.precision)
        return Model(origin, self.batch, Limits().max_image_bytes)

    def open(self, workers: int) -> BundleEmbedder:
        """Its encoder; each of the workers has the cores of its own process.

        Raises:
            BundleError: there is no such bundle, or not in that precision.
        """
        del workers
        return BundleEmbedder(self)


class BundleEmbedder:
    """An `Embedder`."""

    def __init__(self, given: InProcess) -> None:
        """See `InProcess.open`."""
        import onnxruntime as ort

        bundle = Bundle.load(given.bundle)
        artifact = bundle.artifact("image", precision=given.precision)
        bundle.check_artifact(artifact)
        # Decoding goes on while the encoder has the cores: one batch waits for it, decoded.
        self.at_once = 2
        code.set_up_pillow(self.at_once)
        self._transform = code.image_transform(bundle.info.image)
        here = ort.get_available_providers()
        providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in here]
        self._encoder = Encoder(bundle.file(artifact.file), providers=providers)
        self._encoding = threading.Lock()
        self._closed = False
        self.model = given.look()

    def embed(self, pictures: Sequence[bytes]) -> Answer:
        """See `Embedder`."""
        if self._closed:
            raise ClientClosed("the worker is stopped")
        rows = np.full((len(pictures), self.model.dim), np.nan, np.float32)
        pixels, bad = {}, {}
        for number, encoded in enumerate(pictures):
            try:
                pixels[number] = self._transform.pixels(encoded)
            except ValueError as error:  # the server's `BadImageError`
                bad[number] = str(error)
        if pixels:
            with self._encoding:
                rows[list(pixels)] = self._encoder(np.stack(list(pixels.values())))
        return rows, bad

    def close(self) -> None:
        """See `Embedder`."""
        self._closed = True
