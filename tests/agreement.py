"""What every exported bundle owes its checkpoint."""

from __future__ import annotations

from stand_ins.vocabularies import CORPUS
from tritonclip_export.bundle import Bundle
from tritonclip_export.checkpoint.dual_encoder import DualEncoder
from tritonclip_export.parity.inputs import Batches, Inputs
from tritonclip_export.parity.pairs import compare_inputs, compare_pairs, reference_embeddings
from tritonclip_export.precision.running import onnx_embeddings
from tritonclip_export.samples import sample_images


def passed_in_many_scripts(checkpoint: DualEncoder, bundle: Bundle) -> dict[str, bool]:
    """Whether each hop of `export` holds on three photographs and texts in many scripts."""
    inputs = Inputs(tuple(path.read_bytes() for path in sample_images()[:3]), tuple(CORPUS))
    exact = compare_inputs(checkpoint, bundle.path, bundle.info.text, inputs)
    figures = compare_pairs(
        "onnx",
        reference_embeddings(checkpoint, inputs),
        onnx_embeddings(bundle, Batches.of(bundle, inputs)),
    )
    return {figure.stage: figure.passed for figure in [*exact, *figures]}
