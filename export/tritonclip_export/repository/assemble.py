"""`assemble`: bundles -> one Triton model repository for one runtime.

The models of each bundle (see `models`) are staged beside the target, checked together, and put
in place (see `publishing`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tritonclip_export.bundle import Bundle, Precision
from tritonclip_export.errors import RepositoryError
from tritonclip_export.repository import edits, encoder_configs, findings
from tritonclip_export.repository.execution import Execution
from tritonclip_export.repository.heads import ServedHead, check_heads
from tritonclip_export.repository.models import BundleModels, link
from tritonclip_export.repository.overlays import apply_overlays
from tritonclip_export.repository.publishing import Published, other_models, publish
from tritonclip_export.repository.runtimes import Runtime
from tritonclip_export.repository.wiring import check_repository
from tritonclip_export.served import parameters
from tritonclip_export.served.model_config import read_config
from tritonclip_export.served.parameters import Limits, Preprocess
from tritonclip_export.staging.folders import staging_folder
from tritonclip_export.tensorrt.serving_version import Target


@dataclass(frozen=True)
class Missing:
    """An engine that a config names and the bundle does not have yet."""

    file: Path
    command: str
    """What builds it, on a machine with the GPU that it is for."""


@dataclass(frozen=True, kw_only=True)
class Assembled(Published):
    """What `assemble` did, by model name."""

    repository: Path
    missing: tuple[Missing, ...]
    precisions: dict[str, Precision | None]
    """Of each encoder; None for an engine that is still to be built."""
    tuned: tuple[str, ...]
    """Models that keep what `tune` found for them."""
    overlaid: tuple[str, ...]
    """Models with an overlay."""


def assemble(
    bundles: Sequence[Bundle],
    target: Path,
    *,
    runtime: Runtime,
    execution: Execution | None = None,
    limits: Limits | None = None,
    preprocess: Preprocess = "exact",
    orient: bool = False,
    prune: bool = False,
    keep_tuned: bool = True,
    overlays: Path | None = None,
    overwrite: bool = False,
    heads: Sequence[ServedHead] = (),
) -> Assembled:
    """Assemble the models of `bundles` into the repository at `target`.

    Args:
        bundles: loaded bundles, of different names.
        target: the repository's folder; created, or updated in place even while a server polls it.
        runtime: what executes the encoders.
        execution: how.
        limits: what one image or one text of a request may be.
        preprocess: how images become pixels.
        orient: turn images by their EXIF orientation first.
        prune: remove the models of bundles that are not named. Folders that `assemble` did not
            write are never touched.
        keep_tuned: carry over what `tune` found for the same bundle name, runtime and precision, in
            place of the instances and threads of `execution`.
        overlays: a folder with what shall be different in the configs, of files MODEL.pbtxt.
        overwrite: drop what somebody has changed in the configs that are there.
        heads: what is served beside the embeddings of the bundles that they fit.

    Raises:
        BundleError: a file of a bundle is missing or damaged.
        EditedConfigError: a config was edited, or made with an overlay, and that would be undone.
        RepositoryError: two bundles of one name, a head that fits none of them, models that do not
            fit together, no graph of the precision asked for, engines that the server's TensorRT
            does not load, an execution that does not go with `runtime`, or an overlay that is
            wrong.
    """
    execution, limits = execution or Execution(), limits or Limits()
    execution.check(runtime)
    names = [bundle.name for bundle in bundles]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RepositoryError(
            f"two bundles are called {twice[0]!r}; export one of them again with another --name"
        )
    if target.exists() and not target.is_dir():
        raise RepositoryError(f"{target} is a file; a repository is a folder")
    check_heads(heads, bundles)
    missing: list[Missing] = []
    precisions: dict[str, Precision | None] = {}
    tuned: list[str] = []
    with staging_folder(target) as staging:
        for bundle in bundles:
            bundle.check_files()
            models = BundleModels(
                bundle, staging, runtime, execution, limits, preprocess, orient=orient, heads=heads
            )
            wanted = models.write()
            for tower, encoder in models.encoders.items():
                precisions[f"{bundle.name}_{tower}_encoder"] = encoder.precision
            missing += [
                Missing(target / file, command)
                for file, command in wanted.items()
                if not _keep_engine(bundle, file, staging, target)
            ]
            if keep_tuned:
                tuned += findings.keep(bundle.name, staging, target, drop_edits=overwrite)
        check_repository(staging)
        overlaid = apply_overlays(overlays, staging, target) if overlays else ()
        if not overwrite:
            edits.check(staging, target, with_overlays=overlays is not None)
        if runtime == "tensorrt" and not prune:
            _check_kept(target, other_models(staging, target), execution.tensorrt)
        published = publish(staging, target, prune=prune)
    return Assembled(
        repository=target,
        **vars(published),
        missing=tuple(missing),
        precisions=precisions,
        tuned=tuple(tuned),
        overlaid=overlaid,
    )


def server_arguments(repository: Path) -> tuple[str, ...]:
    """What tritonserver must be told to load `repository`, beside where it is."""
    configs = [read_config(file) for file in sorted(repository.glob("*/config.pbtxt"))]
    if any(encoder_configs.VERSION_COMPATIBLE_PARAMETER in config.parameters for config in configs):
        # Such an engine holds code that the server runs, so it wants to be allowed.
        return ("--backend-config=tensorrt,version-compatible=true",)
    return ()


def _check_kept(repository: Path, models: Sequence[str], target: Target) -> None:
    """One server, one TensorRT: it must load the engines of the models that stay, too."""
    for model in models:
        config = read_config(repository / model / "config.pbtxt")
        compatible = encoder_configs.VERSION_COMPATIBLE_PARAMETER in config.parameters
        built = config.parameters[encoder_configs.TENSORRT_PARAMETER].string_value
        for version in filter(None, built.split(", ")):
            if not target.loads_version(version, version_compatible=compatible):
                raise RepositoryError(
                    f"{repository / model}, which is there already, has an engine of TensorRT "
                    f"{version}, and the server is to have {target}: name its bundle as well, with "
                    "new engines; remove it with --prune; or use another folder"
                )


def _keep_engine(bundle: Bundle, file: str, staging: Path, target: Path) -> bool:
    """Carry over an engine that somebody put in place by hand, if it is for the same weights."""
    described = target / f"{bundle.name}_image" / "config.pbtxt"
    if not (target / file).is_file() or not described.is_file():
        return False
    weights = read_config(described).parameters[f"{parameters.PREFIX}weights_sha256"]
    if weights.string_value != bundle.info.source.weights_sha256:
        return False
    link(target / file, staging / file)
    return True
