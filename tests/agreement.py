"""What every exported bundle owes its checkpoint."""

from __future__ import annotations

from tritonclip_export import verify
from tritonclip_export.bundle import Bundle
from tritonclip_export.dual_encoder import DualEncoder
from tritonclip_export.samples import sample_images
from vocabularies import CORPUS


def passed_in_many_scripts(checkpoint: DualEncoder, bundle: Bundle) -> dict[str, bool]:
    """Whether each hop of `export` holds on three photographs and texts in many scripts."""
    inputs = verify.Inputs(tuple(path.read_bytes() for path in sample_images()[:3]), tuple(CORPUS))
    exact = verify.compare_inputs(checkpoint, bundle.path, bundle.info.text, inputs)
    figures = verify.compare_pairs(
        "onnx",
        verify.reference_embeddings(checkpoint, inputs),
        verify.onnx_embeddings(bundle, verify.Batches.of(bundle, inputs)),
    )
    return {figure.stage: figure.passed for figure in [*exact, *figures]}
