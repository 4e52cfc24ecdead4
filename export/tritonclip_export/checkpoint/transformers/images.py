"""The image processors of transformers as an `ImageSpec`."""

from __future__ import annotations

from typing import Any, Literal

from tritonclip_export.bundle import ImageSpec
from tritonclip_export.checkpoint.dual_encoder import three
from tritonclip_export.errors import CheckpointError


def image_spec(processor: Any) -> ImageSpec:
    """Describe a processor that resizes, crops, rescales and normalises.

    Raises:
        CheckpointError: it gives images of no fixed size, or does something else as well.
    """
    if getattr(processor, "backend", None) != "pil":
        raise CheckpointError(f"{type(processor).__name__} has no Pillow backend to be exact with")
    if processor.do_pad or not processor.do_resize:
        raise CheckpointError("an image processor that pads, or does not resize, has no conversion")
    height, width, short_side = _sizes(processor)
    # x / 255 is what the encoder normalises; fold another factor into mean and deviation.
    factor = 255 * (processor.rescale_factor if processor.do_rescale else 1.0)
    mean, std = (
        (three(processor.image_mean), three(processor.image_std))
        if processor.do_normalize
        else ((0.0,) * 3, (1.0,) * 3)
    )
    return ImageSpec(
        height=height,
        width=width,
        mean=three([value / factor for value in mean]),
        std=three([value / factor for value in std]),
        interpolation=_interpolation(processor.resample),
        resize_mode="squash" if short_side is None else "shortest",
        short_side=short_side,
        fill=0,
        rules="transformers",
        transparency=_transparency(processor),
    )


def _sizes(processor: Any) -> tuple[int, int, int | None]:
    """Height and width of PIXELS, and what the shorter side is resized to before the crop."""
    size, crop = _plain(processor.size), _plain(processor.crop_size)
    cropped = (crop.get("height"), crop.get("width")) if processor.do_center_crop else None
    if set(size) == {"height", "width"} and cropped in (None, (size["height"], size["width"])):
        return size["height"], size["width"], None
    if set(size) == {"shortest_edge"} and cropped is not None and None not in cropped:
        return crop["height"], crop["width"], size["shortest_edge"]
    raise CheckpointError(
        f"an image processor with size {size} and crop {crop if cropped else 'off'} has no "
        "conversion: PIXELS have one size"
    )


def _plain(size: Any) -> dict[str, int]:
    return {key: int(value) for key, value in dict(size or {}).items() if value is not None}


def _interpolation(resample: Any) -> Literal["bicubic", "bilinear", "lanczos"]:
    from PIL import Image

    names: dict[int, Literal["bicubic", "bilinear", "lanczos"]] = {
        Image.Resampling.BICUBIC: "bicubic",
        Image.Resampling.BILINEAR: "bilinear",
        Image.Resampling.LANCZOS: "lanczos",
    }
    if resample not in names:
        raise CheckpointError(f"resampling with filter {resample} has no conversion")
    return names[resample]


def _transparency(processor: Any) -> Literal["ignore", "white"]:
    """What the installed transformers makes of transparency, which has changed between releases."""
    from PIL import Image

    invisible = Image.new("RGBA", (1, 1), (0, 0, 0, 0))
    rgb = processor.process_image(invisible, do_convert_rgb=True)
    return "white" if rgb.max() == 255 else "ignore"
