"""Optimization profiles: the shapes an engine takes, and those its kernels are tuned for."""

from __future__ import annotations

from tritonclip_export.bundle import Artifact, BundleInfo, Profile, bucket_lengths
from tritonclip_export.errors import EngineError
from tritonclip_export.tensorrt.options import OPT_BATCH, Options


def profiles(info: BundleInfo, graph: Artifact, options: Options) -> tuple[Profile, ...]:
    """The profiles of an engine from `graph`: one for images, one per padded length for texts.

    A text profile has one length, not a range: the tokenizer pads to exactly these, and kernels for
    a known length are faster than kernels for any.

    Raises:
        EngineError: the batch sizes exceed what the graph was exported for, or each other.
    """
    most = options.max_batch or graph.max_batch
    if most > graph.max_batch:
        raise EngineError(
            f"a batch of {most} was asked for, but the {graph.tower} graph was exported for "
            f"{graph.max_batch} at most: build with --max-batch {graph.max_batch} or less, or "
            f"export the checkpoint again with --max-batch {most}"
        )
    best = options.opt_batch or min(OPT_BATCH, most)
    if best > most:
        raise EngineError(f"--opt-batch {best} is more than the largest batch, {most}")
    items: list[tuple[int, ...]]
    if graph.tower == "image":
        items = [(3, info.image.height, info.image.width)]
    else:
        items = [(length,) for length in bucket_lengths(info.text)]
    return tuple(Profile(min=(1, *item), opt=(best, *item), max=(most, *item)) for item in items)
