"""JPEG files -> PIXELS through a DALI pipeline: decoded and resized on a GPU, if there is one.

Not exact: its decoder and its filters round elsewhere than Pillow's. Sizes, margins and limits are
`ImageTransform`'s, which also takes what is no plain, complete JPEG file, and every file of a batch
that DALI gives up on, because DALI does not go on with the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from nvidia.dali import fn, pipeline_def, types
from PIL.Image import Transpose as Turn

INTERPOLATION = {
    "BICUBIC": types.INTERP_CUBIC,
    "BILINEAR": types.INTERP_LINEAR,
    "LANCZOS": types.INTERP_LANCZOS3,
}


# Each turn of Pillow's by three that DALI has: rows and columns swapped, then mirrored from left to
# right, then from top to bottom.
MOVES = {
    None: (False, False, False),
    Turn.FLIP_LEFT_RIGHT: (False, True, False),
    Turn.ROTATE_180: (False, True, True),
    Turn.FLIP_TOP_BOTTOM: (False, False, True),
    Turn.TRANSPOSE: (True, False, False),
    Turn.ROTATE_270: (True, True, False),
    Turn.TRANSVERSE: (True, True, True),
    Turn.ROTATE_90: (True, False, True),
}


class Placement(NamedTuple):
    """What a picture is resized to, how it is turned, and where in it the crop then begins.

    Rows before columns.
    """

    size: tuple[int, int]
    start: tuple[int, int]
    swapped: bool
    """Whether rows become columns, before it is mirrored."""
    mirrored: bool
    """From left to right."""
    inverted: bool
    """From top to bottom."""


class JpegPipeline:
    """A pipeline for batches of up to `max_batch` files, on the GPU of a number or on the CPU."""

    def __init__(self, transform: Any, max_batch: int, threads: int, gpu: int | None) -> None:
        self._transform = transform
        self._build = pipeline_def(
            batch_size=max_batch,
            num_threads=threads,
            device_id=gpu,
            prefetch_queue_depth=1,
            enable_conditionals=transform.orient,
        )(_pipeline)
        self._device = "cpu" if gpu is None else "mixed"
        self._pipeline = self._build(self._transform, self._device)

    def placement(self, encoded: bytes) -> Placement | None:
        """Where a file's picture goes; None if the file is the transform's to take or refuse."""
        # Whether a decoder refuses a file without an end is its own affair; Pillow does.
        if not (encoded.startswith(b"\xff\xd8") and encoded.endswith(b"\xff\xd9")):
            return None
        transform = self._transform
        try:
            image = transform.open(encoded)
            turn = transform.turn(image)
            width, height = transform.size_before_crop(*transform.turned_size(image.size, turn))
        except ValueError:
            return None
        if image.mode not in ("RGB", "L"):
            return None
        left, top = transform.crop_offset(width, height)
        resized = transform.turned_size((width, height), turn)
        return Placement(resized[::-1], (top, left), *MOVES[turn])

    def pixels(
        self, files: Sequence[bytes], placements: Sequence[Placement]
    ) -> npt.NDArray[np.uint8] | None:
        """PIXELS [files, 3, height, width], or None if one of the files cannot be decoded."""
        feed = self._pipeline.feed_input
        try:
            feed("IMAGE", [np.frombuffer(file, np.uint8) for file in files])
            feed("SIZE", [np.array(placement.size, np.float32) for placement in placements])
            feed("START", [np.array(placement.start, np.int32) for placement in placements])
            if self._transform.orient:
                feed("SWAPPED", [np.array(place.swapped) for place in placements])
                feed("MIRRORED", [np.array(place.mirrored, np.int32) for place in placements])
                feed("INVERTED", [np.array(place.inverted, np.int32) for place in placements])
            (output,) = self._pipeline.run()
        except RuntimeError:
            # DALI declares a pipeline that failed invalid.
            self._pipeline = self._build(self._transform, self._device)
            return None
        return np.array(output.as_array())


def _pipeline(transform: Any, device: str) -> Any:
    files = fn.external_source(name="IMAGE", dtype=types.UINT8, ndim=1)
    size = fn.external_source(name="SIZE", dtype=types.FLOAT, ndim=1)
    start = fn.external_source(name="START", dtype=types.INT32, ndim=1)
    # DALI (2.4) dies of some files whose EXIF it reads, and overlooks what Pillow finds.
    images = fn.decoders.image(
        files, device=device, output_type=types.RGB, adjust_orientation=False
    )
    images = fn.resize(
        images, size=size, interp_type=INTERPOLATION[transform.interpolation.name], antialias=True
    )
    if transform.orient:
        images = _turned(images)
    images = fn.slice(
        images,
        start=start,
        shape=(transform.height, transform.width),
        axes=(0, 1),
        out_of_bounds_policy="pad",
        fill_values=transform.fill,
    )
    return fn.transpose(images, perm=[2, 0, 1]).cpu()


def _turned(images: Any) -> Any:
    """Each of `images` as it is to be seen; after resizing, when it is small."""
    if fn.external_source(name="SWAPPED", dtype=types.BOOL, ndim=0):
        images = fn.transpose(images, perm=[1, 0, 2], transpose_layout=False)
    mirrored = fn.external_source(name="MIRRORED", dtype=types.INT32, ndim=0)
    inverted = fn.external_source(name="INVERTED", dtype=types.INT32, ndim=0)
    return fn.flip(images, horizontal=mirrored, vertical=inverted)
