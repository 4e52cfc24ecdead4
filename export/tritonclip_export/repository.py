"""`assemble`: bundles -> one Triton model repository for one runtime.

Each model starts from its skeleton in `model_repository/`, a real config; the fields that depend on
the bundle and the runtime are set on the parsed `ModelConfig`. Models are staged beside the target
and checked together, then put in place one atomic exchange each, so that a polling server never
finds half a model; a model that would not change is not touched.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonclip_export import encoder_configs, parameters, sources, token_outputs, warmup
from tritonclip_export.bundle import Bundle, Precision, Tokens
from tritonclip_export.encoder_models import (
    IN_PYTHON,
    Encoder,
    Execution,
    Runtime,
    encoders,
    takes_any_length,
)
from tritonclip_export.errors import RepositoryError
from tritonclip_export.model_config import parse_config, read_config, render_config
from tritonclip_export.parameters import Limits, Preprocess
from tritonclip_export.plans import Item
from tritonclip_export.staging import replace_folder, staging_folder
from tritonclip_export.tensorrt_target import Target
from tritonclip_export.tuning import findings
from tritonclip_export.wiring import check_repository

BUNDLE_PARAMETER = f"{parameters.PREFIX}bundle"


@dataclass(frozen=True)
class Missing:
    """An engine that a config names and the bundle does not have yet."""

    file: Path
    command: str
    """What builds it, on a machine with the GPU that it is for."""


@dataclass(frozen=True)
class Assembled:
    """What `assemble` did, by model name."""

    repository: Path
    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    """Models of bundles that were not named this time."""
    missing: tuple[Missing, ...]
    precisions: dict[str, Precision | None]
    """Of each encoder; None for an engine that is still to be built."""
    tuned: tuple[str, ...] = ()
    """Models that keep what `tune` found for them."""


def assemble(
    bundles: Sequence[Bundle],
    target: Path,
    *,
    runtime: Runtime,
    execution: Execution | None = None,
    limits: Limits | None = None,
    preprocess: Preprocess = "exact",
    prune: bool = False,
    keep_tuned: bool = True,
) -> Assembled:
    """Assemble the models of `bundles` into the repository at `target`.

    Args:
        bundles: loaded bundles, of different names.
        target: the repository's folder; created, or updated in place even while a server polls it.
        runtime: what executes the encoders.
        execution: how.
        limits: what one image of a request may be.
        preprocess: how images become pixels.
        prune: remove the models of bundles that are not named. Folders that `assemble` did not
            write are never touched.
        keep_tuned: carry over what `tune` found for the same bundle name, runtime and precision, in
            place of the instances and threads of `execution`.

    Raises:
        BundleError: a file of a bundle is missing or damaged.
        RepositoryError: two bundles of one name, models that do not fit together, no graph of the
            precision asked for, engines that the server's TensorRT does not load, or an execution
            that does not go with `runtime`.
    """
    execution = execution or Execution()
    execution.check(runtime)
    names = [bundle.name for bundle in bundles]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RepositoryError(
            f"two bundles are called {twice[0]!r}; export one of them again with another --name"
        )
    if target.exists() and not target.is_dir():
        raise RepositoryError(f"{target} is a file; a repository is a folder")
    existing = _assembled_models(target)
    with staging_folder(target) as staging:
        missing: list[Missing] = []
        precisions: dict[str, Precision | None] = {}
        tuned: list[str] = []
        for bundle in bundles:
            bundle.check_files()
            models = _Models(bundle, staging, runtime, execution, limits or Limits(), preprocess)
            wanted = models.write()
            for tower, encoder in models.encoders.items():
                precisions[f"{bundle.name}_{tower}_encoder"] = encoder.precision
            missing += [
                Missing(target / file, command)
                for file, command in wanted.items()
                if not _keep_engine(bundle, file, staging, target)
            ]
            if keep_tuned:
                tuned += findings.keep(bundle.name, staging, target)
        check_repository(staging)
        staged = sorted(path.name for path in staging.iterdir())
        others = sorted(name for name in existing if name not in staged)
        if runtime == "tensorrt" and not prune:
            _check_kept(target, others, execution.tensorrt)
        target.mkdir(parents=True, exist_ok=True)
        unchanged = [name for name in staged if _same_folder(staging / name, target / name)]
        written = [name for name in staged if name not in unchanged]
        for name in written:
            replace_folder(staging / name, target / name)
        if prune:
            for name in others:
                (target / name).rename(staging / f"removed-{name}")
    return Assembled(
        repository=target,
        written=tuple(written),
        unchanged=tuple(unchanged),
        removed=tuple(others if prune else ()),
        kept=tuple(() if prune else others),
        missing=tuple(missing),
        precisions=precisions,
        tuned=tuple(tuned),
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
    _link(target / file, staging / file)
    return True


def _assembled_models(repository: Path) -> list[str]:
    """Names of the models in `repository` that `assemble` wrote."""
    return [
        file.parent.name
        for file in sorted(repository.glob("*/config.pbtxt"))
        if BUNDLE_PARAMETER in read_config(file).parameters
    ]


class _Models:
    """Writes the models of one bundle."""

    def __init__(
        self,
        bundle: Bundle,
        folder: Path,
        runtime: Runtime,
        execution: Execution,
        limits: Limits,
        preprocess: Preprocess,
    ) -> None:
        self.bundle = bundle
        self.info = bundle.info
        self.folder = folder
        self.runtime = runtime
        self.execution = execution
        self.limits = limits
        self.preprocess = preprocess
        self.encoders = encoders(bundle, runtime, execution)
        self.any_length = takes_any_length(runtime, bundle.info)
        self.max_batch = min(encoder.max_batch for encoder in self.encoders.values())
        self.dims = {
            "PIXELS": [3, self.info.image.height, self.info.image.width],
            "TOKEN_IDS": [-1 if self.info.text.dynamic_length else self.info.text.context_length],
            "EMBEDDING": [self.info.dim],
        }

    def write(self) -> dict[str, str]:
        """Write all models; returns engines that are still to be built, with the command."""
        info = self.info
        self._model(
            "image_preprocess",
            parameters.image_preprocess(info.image, self.limits, self.preprocess),
            self._preprocess_where,
        )
        self._model(
            "text_tokenize", parameters.text_tokenize(info.text, any_length=self.any_length)
        )
        self._text_windows()
        for tokens in info.tokens:
            self._tokens(tokens)
        self._model("zero_shot", parameters.zero_shot(info.name, info.similarity, self.max_batch))
        precisions = {tower: encoder.precision for tower, encoder in self.encoders.items()}
        described = parameters.description(
            info, self.runtime, precisions, self.limits, self.preprocess
        )
        self._model("image", described)
        self._model("text", described)
        missing: dict[str, str] = {}
        for encoder in self.encoders.values():
            missing |= self._encoder(encoder)
        return missing

    def _model(
        self,
        model: str,
        values: dict[str, str],
        change: Callable[[Any], None] = lambda _: None,
        batches: Callable[[Item], Sequence[int]] = lambda _: (1,),
    ) -> Path:
        """Write one model from its skeleton; returns its version folder."""
        skeleton = sources.sources() / model
        text = (skeleton / "config.pbtxt").read_text(encoding="utf-8")
        config = parse_config(text, skeleton)
        config.name = f"{self.info.name}_{model}"
        if config.max_batch_size:
            config.max_batch_size = self.max_batch
        for tensor in (*config.input, *config.output):
            if tensor.name in self.dims:
                tensor.dims[:] = self.dims[tensor.name]
        for step in config.ensemble_scheduling.step:
            step.model_name = f"{self.info.name}_{step.model_name}"
        for key, value in {BUNDLE_PARAMETER: self.info.name, **values}.items():
            config.parameters[key].string_value = value
        change(config)
        folder = self.folder / f"{self.info.name}_{model}"
        version = folder / "1"
        version.mkdir(parents=True)
        warmup.add(config, folder, warmup.samples_for(model, self.bundle), batches)
        comments = [line for line in text.splitlines() if line.startswith("#")]
        (folder / "config.pbtxt").write_text(render_config(config, comments), encoding="utf-8")
        if config.backend == "python":
            for source in sorted((skeleton / "1").glob("*.py")):
                shutil.copyfile(source, version / source.name)
        if model in ("text_tokenize", "text_windows"):
            tokenizer = self.info.text.tokenizer
            _link(self.bundle.file(tokenizer), version / tokenizer)
        return version

    def _preprocess_where(self, config: Any) -> None:
        if self.preprocess == "dali":
            # A GPU where the server has one.
            config.instance_group[0].kind = config.instance_group[0].KIND_AUTO

    def _tokens(self, tokens: Tokens) -> None:
        """Write an optional output: its ensemble, and the graph that it ends in."""

        def with_shape(config: Any) -> None:
            for tensor in config.output:
                if tensor.name == token_outputs.OUTPUT:
                    count = tokens.count or self.dims["TOKEN_IDS"][0]
                    tensor.dims[:] = [count, tokens.width]

        def for_runtime(config: Any) -> None:
            with_shape(config)
            # Its graph is ONNX; NVIDIA's container has both backends.
            config.backend = "python" if self.runtime in IN_PYTHON else "onnxruntime"
            if self.runtime in IN_PYTHON:
                config.parameters["intra_op_threads"].string_value = "0"  # one for each core
                config.parameters["device"].string_value = "auto"
                config.instance_group.add(kind="KIND_CPU", count=1)

        version = self._model(f"{tokens.tower}_tokens_encoder", {}, for_runtime)
        _link(self.bundle.file(tokens.file), version / "model.onnx")
        if tokens.external_data:
            _link(self.bundle.file(tokens.external_data), version / tokens.external_data)
        if self.runtime in IN_PYTHON:
            _copy_code("onnx_runtime", version)
        layer = {f"{parameters.PREFIX}layer": str(tokens.layer)}
        self._model(f"{tokens.tower}_tokens", layer, with_shape)

    def _text_windows(self) -> None:
        def with_windows(config: Any) -> None:
            config.output[0].dims[:] = [-1, self.info.dim]

        info = self.info
        values = parameters.text_windows(
            info.name, info.text, self.max_batch, any_length=self.any_length
        )
        version = self._model("text_windows", values, with_windows)
        tokens = sources.sources() / "text_tokenize" / "1" / "tokens.py"
        shutil.copyfile(tokens, version / tokens.name)

    def _encoder(self, encoder: Encoder) -> dict[str, str]:
        """Write an encoder; returns engines that are still to be built, with the command."""
        values = {}
        if encoder.tower == "text" and self.any_length:
            values["padding"] = self._padding()
        version = self._model(
            f"{encoder.tower}_encoder",
            values,
            lambda config: encoder_configs.complete(config, encoder, self.runtime, self.execution),
            lambda item: encoder_configs.warmup_batches(encoder, item, self.max_batch),
        )
        for name, source in encoder.files.items():
            _link(source, version / name)
        if self.runtime in IN_PYTHON:
            _copy_code("onnx_runtime" if self.runtime == "python" else "openvino", version)
        return {
            f"{version.parent.name}/{version.name}/{name}": command
            for name, command in encoder.missing.items()
        }

    def _padding(self) -> str:
        text = self.info.text
        (ids,) = sources.text_transform(text, self.bundle.path).encode([warmup.TEXT])
        return parameters.padding(text, ends_with_pad=ids[-1] == text.pad_id)


def _copy_code(library: str, version: Path) -> None:
    """What answers with an encoder in Triton's Python backend, and runs it with that library."""
    for file in ("encoders/answers.py", f"{library}/model.py"):
        source = sources.sources() / file
        shutil.copyfile(source, version / source.name)


def _link(source: Path, target: Path) -> None:
    """A hard link, or a copy across file systems: bundles are replaced whole, never edited."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _same_folder(a: Path, b: Path) -> bool:
    files = _files(a)
    return files == _files(b) and all(
        (a / name).samefile(b / name) or filecmp.cmp(a / name, b / name, shallow=False)
        for name in files
    )


def _files(folder: Path) -> set[Path]:
    """Relative paths of what `assemble` writes; a server may have left bytecode beside it."""
    return {
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
