"""Four ways to a half-precision encoder, compared on fidelity and on the graph TensorRT gets.

On the demo checkpoint, and on the same under stress (tests/stress.py), which in FP32 changes
nothing: its activations multiplied by 8192 or shifted by 2000.

    half        the tower's module in half precision (`.half()`), then traced
    modules     the same, but normalisation and activation modules compute in FP32
    autocast    NVIDIA ModelOpt AutoCast on the FP32 graph, calibrated on the same inputs
    rewrite     tritonclip_export.precision on the FP32 graph

AutoCast wants numpy 2, which the server from PyPI cannot use, so it runs in an environment of its
own: `python -m venv autocast && autocast/bin/pip install "nvidia-modelopt[onnx]"`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import nn
from torch.nn import functional as F

import record
from tritonclip import TritonClipError
from tritonclip_export import precision, samples
from tritonclip_export.bundle import TOWERS, Artifact, Bundle, Tower
from tritonclip_export.checkpoint import loading
from tritonclip_export.export.writing import export
from tritonclip_export.graph.encoder import Input
from tritonclip_export.graph.tracing import trace
from tritonclip_export.parity.figures import TOLERANCES, compare
from tritonclip_export.parity.inputs import Batches, Inputs
from tritonclip_export.parity.pairs import Pair, run
from tritonclip_export.precision.emulation import emulated
from tritonclip_export.precision.operators import PRODUCTS
from tritonclip_export.precision.running import onnx_embeddings
from tritonclip_export.tensorrt import library, profiles
from tritonclip_export.tensorrt.builder import compile_graph
from tritonclip_export.tensorrt.options import Options

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo"
STRESS: dict[str, dict[str, float]] = {
    "as trained": {},
    "multiplied by 8192": {"scale": 8192.0},
    "shifted by 2000": {"offset": 2000.0},
}
COMPUTE_CAPABILITY = "8.9"

Method = Callable[[Bundle, Tower, Path], None]


def main() -> None:
    """Compare, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--autocast", type=Path, help="a Python that has nvidia-modelopt[onnx]")
    autocast: Path | None = parser.parse_args().autocast
    sys.path.insert(0, str(ROOT / "tests"))
    from stress import write_stressed

    methods: dict[str, Method] = {"half": _half, "modules": _modules, "rewrite": _rewrite}
    if autocast is not None:
        methods["autocast"] = lambda *args: _autocast(autocast, *args)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, how in STRESS.items():
            home = Path(folder) / kind.replace(" ", "-")
            source = write_stressed(DEMO / "checkpoint", home / "checkpoint", **how)
            loaded = loading.load(loading.parse(str(source)))
            bundle = export(loaded, home / "bundle", name="demo")
            figures[kind] = _compare(bundle, methods)
    print(record.save("precision-methods", figures))


def _compare(bundle: Bundle, methods: dict[str, Method]) -> dict[str, Any]:
    samples_ = Batches.of(bundle, _samples())
    emoji = Batches.of(bundle, _emoji())
    reference = onnx_embeddings(bundle, samples_)
    zero_shot = onnx_embeddings(bundle, emoji)
    figures: dict[str, Any] = {"fp32": {"top1": _top1(zero_shot), **_compiled(bundle, None)}}
    for name, method in methods.items():
        began = time.monotonic()
        folder = bundle.path.with_name(name)
        folder.mkdir()
        try:
            for tower in TOWERS:
                method(bundle, tower, folder / f"{tower}.onnx")
        except (TritonClipError, subprocess.CalledProcessError) as error:
            figures[name] = {"error": str(error)[:300]}
            continue
        seconds = time.monotonic() - began
        candidate = _embed(folder, samples_)
        figures[name] = {
            "seconds": round(seconds, 1),
            "image": _errors(reference.images, candidate.images),
            "text": _errors(reference.texts, candidate.texts),
            "top1": _top1(_embed(folder, emoji)),
            **_compiled(bundle, folder),
        }
        print(bundle.path.parent.name, name, json.dumps(figures[name]), flush=True)
    return figures


def _errors(reference: Any, candidate: Any) -> dict[str, float | None]:
    """None for what is not a number any more."""
    found = compare("", reference, candidate, TOLERANCES["fp16"])
    values = {"of_spread": found.relative_to_spread, "min_cosine": found.min_cosine}
    return {
        name: None
        if value is None or not np.isfinite(value)
        else float(f"{value:.3g}")
        if name == "of_spread"
        else value
        for name, value in values.items()
    }


def _compiled(bundle: Bundle, folder: Path | None) -> dict[str, Any]:
    """What the graph is made of, and what TensorRT-RTX makes of it."""
    found: dict[str, Any] = {}
    rtx = library.load("tensorrt-rtx")
    for tower in TOWERS:
        artifact = bundle.artifact(tower)
        file = bundle.file(artifact.file) if folder is None else folder / f"{tower}.onnx"
        nodes = list(ir.load(file).graph)
        products = Counter(node.outputs[0].dtype.name for node in nodes if node.op_type in PRODUCTS)
        found[tower + "_graph"] = {
            "casts": sum(node.op_type == "Cast" for node in nodes),
            "products": dict(products),
            "layer_norms": sum(node.op_type == "LayerNormalization" for node in nodes),
        }
        found[tower + "_engine"] = _engine(rtx, bundle, artifact, file)
    return found


def _engine(rtx: Any, bundle: Bundle, artifact: Artifact, file: Path) -> dict[str, Any]:
    options = Options()
    try:
        built = compile_graph(
            rtx,
            file,
            artifact,
            profiles.profiles(bundle.info, artifact, options)[:1],
            options,
            compute_capability=COMPUTE_CAPABILITY,
        )
    except TritonClipError as error:
        return {"error": str(error)[:300]}
    return {"layers": built.engine.layers, "megabytes": round(built.engine.size_bytes / 1e6, 1)}


def _embed(folder: Path, batches: Batches) -> Pair:
    with emulated(folder / "image.onnx") as image, emulated(folder / "text.onnx") as text:
        return Pair(run(image, batches.pixels), run(text, batches.padded_ids))


def _samples() -> Inputs:
    return Inputs.read(samples.sample_images(), samples.sample_texts())


def _emoji() -> Inputs:
    with zipfile.ZipFile(DEMO / "twemoji.zip") as archive:
        labels: dict[str, str] = json.loads(archive.read("labels.json"))
        images = tuple(archive.read(f"{slug}.png") for slug in labels)
    return Inputs(images, tuple(f"the {label} emoji" for label in labels.values()))


def _top1(pair: Pair) -> float:
    """The share of images nearest to the text of their own number."""
    chosen = np.nan_to_num(pair.images @ pair.texts.T, nan=-1.0).argmax(axis=1)
    return float((chosen == np.arange(len(chosen))).mean())


class _Half(nn.Module):
    """A tower in half precision between FP32 normalisation of pixels and of the embedding."""

    def __init__(self, tower: nn.Module, mean: Any, std: Any) -> None:
        super().__init__()
        self.tower = tower
        self.mean, self.std = mean, std

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As `encoders` does it."""
        if x.dtype == torch.uint8:
            x = ((x.float() / 255 - self.mean) / self.std).half()
        features: Any = self.tower(x)
        features = features[0] if isinstance(features, tuple) else features
        return F.normalize(features.float(), dim=-1)


def _half(bundle: Bundle, tower: Tower, file: Path) -> None:
    _trace_half(bundle, tower, file, lambda module: module)


def _modules(bundle: Bundle, tower: Tower, file: Path) -> None:
    kinds = (nn.LayerNorm, nn.BatchNorm2d, nn.GroupNorm, nn.GELU)

    def keep(module: nn.Module) -> nn.Module:
        for part in module.modules():
            if isinstance(part, kinds):
                part.float()
                part.register_forward_pre_hook(lambda _, args: (args[0].float(), *args[1:]))
                part.register_forward_hook(lambda _, __, result: result.half())
        return module

    _trace_half(bundle, tower, file, keep)


def _trace_half(
    bundle: Bundle, tower: Tower, file: Path, keep: Callable[[nn.Module], nn.Module]
) -> None:
    # Loaded anew: half precision cannot be taken back.
    loaded = loading.load(loading.parse(bundle.info.source.reference))
    module = keep((loaded.image_tower() if tower == "image" else loaded.text_tower()).half())
    spec = bundle.info.image
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (spec.mean, spec.std))
    if tower == "image":
        example = np.zeros((2, 3, spec.height, spec.width), np.uint8)
        wanted = Input("PIXELS", example, {0: "batch"})
    else:
        ids = loaded.token_ids(["a photo", "of a cat"]).astype(np.int32)
        wanted = Input("TOKEN_IDS", ids, {0: "batch", 1: "length"})
    trace(_Half(module, mean, std).eval(), wanted, file)


def _rewrite(bundle: Bundle, tower: Tower, file: Path) -> None:
    written = precision.write(bundle, "fp16", inputs=_samples())
    source = written.file(written.artifact(tower, precision="fp16").file)
    file.write_bytes(source.read_bytes())


def _autocast(python: Path, bundle: Bundle, tower: Tower, file: Path) -> None:
    batches = Batches.of(bundle, _samples())
    name, batch = (
        ("PIXELS", batches.pixels[0]) if tower == "image" else ("TOKEN_IDS", batches.padded_ids[0])
    )
    data = file.with_suffix(".npz")
    np.savez(data, **{name: batch})
    source = bundle.file(bundle.artifact(tower).file)
    program = (
        "import sys, onnx\n"
        "from modelopt.onnx.autocast import convert_to_mixed_precision as convert\n"
        "model = convert(onnx_path=sys.argv[1], low_precision_type='fp16',\n"
        "                calibration_data=sys.argv[2], keep_io_types=True)\n"
        "onnx.save(model, sys.argv[3])\n"
    )
    command = [str(part) for part in (python, "-c", program, source, data, file)]
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    main()
