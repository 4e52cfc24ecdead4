"""The demo checkpoint's zero-shot accuracy, stage by stage and at every precision.

OpenVINO's models are executed as they are served, which takes a CPU with BF16 and VNNI.

Every Twemoji drawing of `demo/twemoji.zip`, a style held out of training, over the names of all of
them, each the mean of the prompts in `demo/prompts.json`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np

from benchmarks import record
from benchmarks.drawings import DEMO, drawings
from benchmarks.servers import served
from tritonclip import Client
from tritonclip_export import precision, samples
from tritonclip_export.bundle import Bundle, Precision
from tritonclip_export.checkpoint import loading
from tritonclip_export.openvino import artifacts as openvino
from tritonclip_export.openvino import running
from tritonclip_export.parity.inputs import Batches, Inputs
from tritonclip_export.parity.pairs import Pair, reference_embeddings
from tritonclip_export.precision.running import onnx_embeddings
from tritonclip_export.repository.execution import Execution

# FP16 and BF16 are emulated on a machine without CUDA.
PRECISIONS: tuple[Precision, ...] = ("fp16", "bf16", "int8")
IN_OPENVINO: tuple[Precision, ...] = ("bf16", "int8")


def main() -> None:
    """Measure the demo bundle and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    bundle = Bundle.load(parser.parse_args().bundle)
    prompts: list[str] = json.loads((DEMO / "prompts.json").read_text(encoding="utf-8"))
    files = drawings()
    texts = tuple(prompt.replace("{}", name) for name in files for prompt in prompts)
    inputs = Inputs(tuple(files.values()), texts)

    pairs = {"PyTorch": reference_embeddings(_checkpoint(bundle), inputs)}
    batches = Batches.of(bundle, inputs)
    batches = dataclasses.replace(batches, token_ids=batches.padded_ids)  # together, for speed
    pairs["ONNX Runtime"] = onnx_embeddings(bundle, batches)
    measured_on = Inputs.read(samples.sample_images(), samples.sample_texts())
    for at in PRECISIONS:
        bundle = precision.write(bundle, at, inputs=measured_on)
        pairs[at] = onnx_embeddings(bundle, batches, at)
    for at in IN_OPENVINO:
        bundle = openvino.write(bundle, at, inputs=measured_on)
        pairs[f"openvino {at}"] = running.embeddings(bundle, batches, at)
    with (
        served(bundle, Execution(precision="fp32")) as server,
        Client(server.grpc_url) as client,
    ):
        pairs["served"] = Pair(client.embed_images(list(inputs.images)), client.embed_texts(texts))

    chosen = {name: _ranking(pair, len(prompts)) for name, pair in pairs.items()}
    right = np.arange(len(files))[:, None]
    figures = {
        name: {
            "top1": float((ranking[:, :1] == right).mean()),
            "top5": float((ranking[:, :5] == right).any(axis=1).mean()),
            "images_decided_unlike_pytorch": int((ranking[:, 0] != chosen["PyTorch"][:, 0]).sum()),
        }
        for name, ranking in chosen.items()
    }
    for name, figure in figures.items():
        print(f"{name:14} top-1 {figure['top1']:.4f}  top-5 {figure['top5']:.4f}")
    print(record.save("accuracy", {"images": len(files), "prompts": prompts, **figures}))


def _checkpoint(bundle: Bundle) -> loading.DualEncoder:
    return loading.load(loading.parse(bundle.info.source.reference))


def _ranking(pair: Pair, prompts: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Labels in falling order for each image, [images, labels]."""
    labels = pair.texts.reshape(-1, prompts, pair.texts.shape[-1]).mean(axis=1)
    labels /= np.linalg.norm(labels, axis=1, keepdims=True)
    return np.argsort(-(pair.images @ labels.T), axis=1, kind="stable")


if __name__ == "__main__":
    main()
