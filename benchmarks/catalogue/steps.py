"""The steps of a row, in order; each adds what it found to the row's facts.

    python -m benchmarks.catalogue.steps HUB REPORT FOLDER

A row has a process of its own: what crashes, leaks or is killed for its memory costs that row only.
"""

from __future__ import annotations

import argparse
import ctypes
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.catalogue.rows import Row
from benchmarks.catalogue.work import Work
from stand_ins import hub_checkpoints
from tritonclip.errors import TritonClipError
from tritonclip_export import samples
from tritonclip_export.bundle import TOWERS, Bundle
from tritonclip_export.checkpoint.references import HUB_PREFIX
from tritonclip_export.parity.figures import require
from tritonclip_export.parity.inputs import Batches, Inputs
from tritonclip_export.parity.pairs import Pair, compare_pairs
from tritonclip_export.precision.running import onnx_embeddings

if TYPE_CHECKING:
    import torch


SEED = 0
TARGET = "sm89"
PR_SET_PDEATHSIG = 1


def load(work: Work) -> None:
    """Create the architecture with seeded random weights, in a folder if it is no open_clip's."""
    from tritonclip_export.checkpoint import loading

    name = work.row.architecture
    seed = None if name.startswith(HUB_PREFIX) else SEED
    if seed is None:
        from benchmarks.catalogue import hub

        with work.step("writing the checkpoint"):
            published = hub_checkpoints.find(name.removeprefix(HUB_PREFIX))
            name = str(hub.write_checkpoint(published, work.folder, seed=SEED))
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
    work.row.facts["products"] = {
        tower: _products(bundle.file(bundle.artifact(tower, precision="fp16").file))
        for tower in TOWERS
    }


def _products(file: Path) -> dict[str, int]:
    """Products of a half-precision encoder: all, those in FP32, and those in FP16 by scaling."""
    from tritonclip_export.precision import layers, operators, scaling

    graph = layers.load(file).graph
    products = [node for node in graph if node.op_type in operators.PRODUCTS]
    return {
        "all": len(products),
        "fp32": sum(layers.is_float(node.outputs[0]) for node in products),
        "scaled": scaling.scaled_products(graph),
    }


def compile(work: Work) -> None:
    """Compile both half-precision encoders for an L4 with TensorRT-RTX."""
    from tritonclip_export.tensorrt import engines

    rtx = engines.ahead_of_time([TARGET])
    built = rtx.build(work.results["bundle"], "fp16", progress=work.begin).built
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


def main() -> None:
    """Take one architecture through all steps; whatever happens is in the row at REPORT."""
    _die_with_parent()
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("hub", type=Path)
    parser.add_argument("report", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    row = Row.model_validate_json(options.report.read_bytes())
    work = Work(row, options.report, options.folder, options.hub, options.serve)
    try:
        for step in STEPS:
            step(work)
        row.passed = True
    except TritonClipError as error:
        row.reason = str(error)
    except Exception as error:  # a row says what went wrong, whatever it was
        row.reason = f"{type(error).__name__}: {error}"
    if row.passed:
        work.end()
    row.save(options.report)


def _die_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it is gone, however it went."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # And, should the machine run out of memory, to begin here.
    Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    main()
