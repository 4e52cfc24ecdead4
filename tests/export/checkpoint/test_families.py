"""Every family: exported, half precision near FP32, and compiled for three GPU architectures."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from checkpoints import RESNET, SIGLIP, write_checkpoint
from families import FAMILIES
from tritonclip_export import precision, samples
from tritonclip_export.bundle import Bundle
from tritonclip_export.checkpoint.loading import load, parse
from tritonclip_export.export.writing import export
from tritonclip_export.parity.inputs import Inputs
from tritonclip_export.tensorrt import bindings, engines

ALL = FAMILIES | {"siglip": SIGLIP, "resnet": RESNET}
# `make test` has the demo's, SigLIP and the ResNet, compiled in tensorrt/test_engines.py.
# Those that other tests have bundles of.
SHARED = ("vit", "siglip", "resnet")
TARGETS = ("sm86", "sm89", "sm120")  # A10 and A40; L4 and L40S; RTX 50 and RTX PRO 6000


@pytest.mark.slow
@pytest.mark.parametrize("family", ALL)
def test_half_precision_is_near_and_compiles(
    family: str, bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    if family in SHARED:
        made = Bundle.load(Path(shutil.copytree(bundle(family).path, tmp_path / "bundle")))
    else:
        folder = write_checkpoint(tmp_path / "checkpoint", ALL[family], seed=7)
        made = export(load(parse(str(folder))), tmp_path / "bundle", name=family, max_batch=8)
    inputs = Inputs.read(samples.sample_images(), samples.sample_texts())

    lowered = precision.write(made, "fp16", inputs=inputs)  # raises beyond its tolerance
    built = engines.ahead_of_time(TARGETS).build(lowered, "fp16").built

    stages = {figure.stage: figure for figure in lowered.info.parity}
    assert stages["fp16 image"].relative_to_spread > 1e-4  # it is half precision
    assert stages["fp16 text"].relative_to_spread > 1e-4
    capabilities = [(a.tower, a.engine.compute_capability) for a in built]
    assert sorted(capabilities) == sorted(
        (tower, capability) for tower in ("image", "text") for capability in ("8.6", "8.9", "12.0")
    )
    for artifact in built:
        assert set(artifact.engine.bindings) == set(bindings.promised(lowered.info, artifact.tower))
