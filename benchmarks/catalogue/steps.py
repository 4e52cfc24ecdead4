"""The steps of a row, in order; each adds what it found to the row's facts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import hub_checkpoints
from benchmarks.catalogue.child import SEED, Work
from tritonclip_export import samples
from tritonclip_export.bundle import Bundle
from tritonclip_export.checkpoint.references import HUB_PREFIX
from tritonclip_export.parity.figures import require
from tritonclip_export.parity.inputs import Batches, Inputs
from tritonclip_export.parity.pairs import Pair, compare_pairs
from tritonclip_export.precision.running import onnx_embeddings

if TYPE_CHECKING:
    import torch


TARGET = "sm89"


def load(work: Work) -> None:
    """Create the architecture with seeded random weights, in a folder if it is no open_clip's."""
    from tritonclip_export.checkpoint import loading

    name = work.row.architecture
    seed = None if name.startswith(HUB_PREFIX) else SEED
    if seed is None:
        from benchmarks.catalogue import random_checkpoints

        with work.step("writing the checkpoint"):
            published = hub_checkpoints.find(name.removeprefix(HUB_PREFIX))
            name = str(random_checkpoints.write(published, work.folder, seed=SEED))
    with work.step("load"):
        reference = loading.parse(name)
        loaded = loading.load(reference, random_seed=seed, source=work.hub)
    work.results["checkpoint"] = loaded
    work.row.facts |= {
        "dim": loaded.dim,
        "image": [loaded.image.height, loaded.image.width],
        "similarity": loaded.similarity.kind,
        "parameters": {
            "image": _parameters(loaded.image_tower()),
            "text": _parameters(loaded.text_tower()),
        },
    }


def _parameters(tower: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in tower.parameters())


def export(work: Work) -> None:
    """Export both towers, in parity with the library they come from."""
    from tritonclip_export.export.writing import export

    target = work.folder / "bundle"
    bundle = export(
        work.results["checkpoint"], target, name="model", max_batch=8, progress=work.begin
    )
    work.end()
    work.results["bundle"] = bundle
    work.row.facts |= {
        "context_length": bundle.info.text.context_length,
        "dynamic_length": bundle.info.text.dynamic_length,
        "onnx_bytes": {
            artifact.tower: bundle.size_of(artifact) for artifact in bundle.info.artifacts
        },
        "parity": {figure.stage: figure.model_dump() for figure in bundle.info.parity},
    }


def serve(work: Work) -> None:
    """Compare what a real server answers, for one row of each family."""
    if not work.serve:
        return
    from tritonclip import Client
    from tritonclip_export.repository.assemble import assemble
    from tritonclip_export.server.ports import Ports
    from tritonclip_export.server.server import Server

    bundle: Bundle = work.results["bundle"]
    inputs = Inputs.read(samples.sample_images(), samples.sample_texts())
    with work.step("serve"):
        assemble([bundle], work.folder / "repository", runtime="python")
        with (
            Server(work.folder / "repository", ports=Ports(0, 0, 0)) as server,
            Client(server.grpc_url) as client,
        ):
            served = Pair(client.embed_images(inputs.images), client.embed_texts(inputs.texts))
        figures = compare_pairs(
            "served",
            onnx_embeddings(bundle, Batches.of(bundle, inputs)),
            served,
        )
        work.row.facts["parity"] |= {figure.stage: figure.model_dump() for figure in figures}
        require(figures)


def lower(work: Work) -> None:
    """Write both encoders in half precision, within its tolerance of FP32."""
    from tritonclip_export import precision

    work.results.pop("checkpoint", None)  # its memory is wanted
    inputs = Inputs.read(samples.sample_images(), samples.sample_texts())
    bundle = precision.write(work.results["bundle"], "fp16", inputs=inputs, progress=work.begin)
    work.end()
    work.results["bundle"] = bundle
    work.row.facts["parity"] |= {figure.stage: figure.model_dump() for figure in bundle.info.parity}


def compile(work: Work) -> None:
    """Compile both half-precision encoders for an L4 with TensorRT-RTX."""
    from tritonclip_export.tensorrt import engines

    rtx = engines.ahead_of_time([TARGET])
    built = engines.build(work.results["bundle"], "fp16", rtx, progress=work.begin).built
    work.end()
    work.row.facts["engines"] = {
        artifact.tower: {
            "tensorrt_rtx": artifact.engine.version,
            "layers": artifact.engine.layers,
            "bytes": artifact.engine.size_bytes,
        }
        for artifact in built
        if artifact.engine is not None
    }


STEPS: tuple[Callable[[Work], None], ...] = (load, export, serve, lower, compile)
