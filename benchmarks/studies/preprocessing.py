"""What preprocessing costs a core, and what the modes that are not exact do to embeddings.

Speed and fidelity on photographs; zero-shot accuracy with the demo checkpoint on the drawings of
`demo/twemoji.zip`, enlarged and saved as JPEG, since there is nothing to leave out of files of
72 x 72 pixels. The mode `dali` is measured if DALI is installed, with its operators for
the CPU: its fidelity counts, its speed is not that of a GPU.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import io
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks import record
from benchmarks.drawings import DEMO, drawings
from tritonclip_export.bench import workloads
from tritonclip_export.bundle import Bundle
from tritonclip_export.parity.inputs import BATCH, Embeddings
from tritonclip_export.parity.pairs import run
from tritonclip_export.precision.running import open_encoder
from tritonclip_export.served import code
from tritonclip_export.served.parameters import PREPROCESS, Preprocess

PHOTOGRAPHS = {
    "JPEG 640 x 480": (640, 480, "JPEG", 11),
    "JPEG 1920 x 1080": (1920, 1080, "JPEG", 11),
    "JPEG 4032 x 3024": (4032, 3024, "JPEG", 3),
    "PNG 640 x 480": (640, 480, "PNG", 11),
}
# For a tower of 64 pixels: decoded at exactly its size, at more than one and a half times its size.
ENLARGED = (512, 400)
SECONDS = 4.0

Pixels = npt.NDArray[np.uint8]
Embed = Callable[[Pixels], Embeddings]


def main() -> None:
    """Measure both bundles and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="of a tower of 224 pixels, say")
    parser.add_argument("demo", type=Path, help="of demo/checkpoint")
    arguments = parser.parse_args()
    modes = [mode for mode in PREPROCESS if mode != "dali" or _has_dali()]
    code.set_up_pillow(1)
    bundle, demo = Bundle.load(arguments.bundle), Bundle.load(arguments.demo)
    figures = {
        "bundle": bundle.info.source.reference,
        "dali": importlib.metadata.version("nvidia-dali-cuda130") if "dali" in modes else None,
        "photographs": {
            name: _photographs(workloads.photographs(*size), bundle, demo, modes)
            for name, size in PHOTOGRAPHS.items()
        },
        "zero_shot": {f"{size} pixels": _zero_shot(demo, size, modes) for size in ENLARGED},
    }
    print(record.save("preprocessing", figures))


def _has_dali() -> bool:
    return importlib.util.find_spec("nvidia") is not None and (
        importlib.util.find_spec("nvidia.dali") is not None
    )


def _pixels(bundle: Bundle, mode: Preprocess) -> Callable[[Sequence[bytes]], Pixels]:
    """What the server's code does with a batch in `mode`, on one core."""
    transform = code.image_transform(bundle.info.image, mode=mode)

    def by_pillow(files: Sequence[bytes]) -> Pixels:
        batch = np.empty((len(files), 3, transform.height, transform.width), np.uint8)
        for file, pixels in zip(files, batch, strict=True):
            transform.pixels(file, pixels)
        return batch

    if mode != "dali":
        return by_pillow
    pipeline = code.jpeg_pipeline(transform, BATCH)

    def by_dali(files: Sequence[bytes]) -> Pixels:
        placements = [pipeline.placement(file) for file in files]
        if None in placements:
            return by_pillow(files)
        return np.asarray(pipeline.pixels(files, placements))

    return by_dali


def _photographs(
    files: tuple[bytes, ...], bundle: Bundle, demo: Bundle, modes: Sequence[Preprocess]
) -> dict[str, Any]:
    return {
        mode: {
            "ms_each": _cpu_ms_each(_pixels(bundle, mode), files),
            "pixels": _pixel_difference(
                _pixels(bundle, mode)(files), _pixels(bundle, "exact")(files)
            ),
            "tower": _embedding_difference(bundle, files, mode),
            "demo": _embedding_difference(demo, files, mode),
        }
        for mode in modes
    }


def _cpu_ms_each(pixels: Callable[[Sequence[bytes]], Pixels], files: Sequence[bytes]) -> float:
    """Processor time of an image: the median of batches."""
    pixels(files)
    times = []
    end = time.process_time() + SECONDS
    while time.process_time() < end:
        begin = time.process_time()
        pixels(files)
        times.append(time.process_time() - begin)
    return round(float(np.median(times)) / len(files) * 1e3, 3)


def _pixel_difference(candidate: Pixels, exact: Pixels) -> dict[str, float]:
    difference = np.abs(candidate.astype(int) - exact)
    return {"max": int(difference.max()), "mean": round(float(difference.mean()), 3)}


def _embedding_difference(
    bundle: Bundle, files: Sequence[bytes], mode: Preprocess
) -> dict[str, float]:
    """Cosines with exact preprocessing, and the error relative to the spread between images."""
    with _encoder(bundle) as embed:
        exact = embed(_pixels(bundle, "exact")(files))
        candidate = embed(_pixels(bundle, mode)(files))
    cosines = (exact * candidate).sum(axis=1)
    spread = np.linalg.norm(exact - exact.mean(axis=0), axis=1)
    error = np.linalg.norm(exact - candidate, axis=1)
    return {
        "min_cosine": round(float(cosines.min()), 6),
        "of_spread": round(float(np.sqrt((error**2).mean() / (spread**2).mean())), 4),
    }


def _encoder(bundle: Bundle) -> Any:
    return open_encoder(bundle.file(bundle.artifact("image").file), "fp32")


def _zero_shot(demo: Bundle, size: int, modes: Sequence[Preprocess]) -> dict[str, Any]:
    """Top-1 and top-5 over all names, and images decided unlike with exact preprocessing."""
    prompts: list[str] = json.loads((DEMO / "prompts.json").read_text(encoding="utf-8"))
    pictures = drawings()
    files = [_enlarged(file, size) for file in pictures.values()]
    labels = _labels(demo, list(pictures), prompts)
    rankings = {}
    for mode in modes:
        pixels = _pixels(demo, mode)
        with _encoder(demo) as embed:
            batches = range(0, len(files), BATCH)
            images = [embed(pixels(files[i : i + BATCH])) for i in batches]
        rankings[mode] = np.argsort(-(np.concatenate(images) @ labels.T), axis=1, kind="stable")
    right = np.arange(len(pictures))[:, None]
    return {
        mode: {
            "top1": round(float((ranking[:, :1] == right).mean()), 4),
            "top5": round(float((ranking[:, :5] == right).any(axis=1).mean()), 4),
            "decided_unlike_exact": int((ranking[:, 0] != rankings["exact"][:, 0]).sum()),
            "of": len(pictures),
        }
        for mode, ranking in rankings.items()
    }


def _enlarged(png: bytes, size: int) -> bytes:
    encoded = io.BytesIO()
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image = image.resize((size, size), Image.Resampling.LANCZOS)
    image.save(encoded, "JPEG", quality=workloads.JPEG_QUALITY)
    return encoded.getvalue()


def _labels(demo: Bundle, names: Sequence[str], prompts: Sequence[str]) -> Embeddings:
    transform = code.text_transform(demo.info.text, demo.path)
    ids = transform.encode([prompt.replace("{}", name) for name in names for prompt in prompts])
    batches = [transform.pad(ids[i : i + 64]) for i in range(0, len(ids), 64)]
    with open_encoder(demo.file(demo.artifact("text").file), "fp32") as embed:
        texts = run(embed, batches).reshape(len(names), len(prompts), -1).mean(axis=1)
    return np.asarray(texts / np.linalg.norm(texts, axis=1, keepdims=True))


if __name__ == "__main__":
    main()
