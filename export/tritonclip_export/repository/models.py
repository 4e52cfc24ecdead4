"""The Triton models of one bundle, written into a folder.

Each starts from its skeleton in `model_repository/`, a real config; the fields that depend on the
bundle and the runtime are set on the parsed `ModelConfig`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tritonclip_export.bundle import Bundle, Tokens
from tritonclip_export.export import token_outputs
from tritonclip_export.repository import encoder_configs, warmup
from tritonclip_export.repository.encoders import Encoder, encoders, takes_any_length
from tritonclip_export.repository.execution import IN_PYTHON, Execution, Runtime
from tritonclip_export.repository.plans import Item
from tritonclip_export.served import code, parameters
from tritonclip_export.served.model_config import parse_config, render_config
from tritonclip_export.served.parameters import Limits, Preprocess
from tritonclip_export.served.sources import skeletons

BUNDLE_PARAMETER = f"{parameters.PREFIX}bundle"
"""Of every model: the name of the bundle that it is of."""


class BundleModels:
    """Writes the models of one bundle; arguments are those of `assemble`."""

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
        skeleton = skeletons() / model
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
            link(self.bundle.file(tokenizer), version / tokenizer)
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
        link(self.bundle.file(tokens.file), version / "model.onnx")
        if tokens.external_data:
            link(self.bundle.file(tokens.external_data), version / tokens.external_data)
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
        tokens = skeletons() / "text_tokenize" / "1" / "tokens.py"
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
            link(source, version / name)
        if self.runtime in IN_PYTHON:
            _copy_code("onnx_runtime" if self.runtime == "python" else "openvino", version)
        return {
            f"{version.parent.name}/{version.name}/{name}": command
            for name, command in encoder.missing.items()
        }

    def _padding(self) -> str:
        text = self.info.text
        (ids,) = code.text_transform(text, self.bundle.path).encode([warmup.TEXT])
        return parameters.padding(text, ends_with_pad=ids[-1] == text.pad_id)


def _copy_code(library: str, version: Path) -> None:
    """What answers with an encoder in Triton's Python backend, and runs it with that library."""
    for file in ("encoders/answers.py", "image_preprocess/1/cores.py", f"{library}/model.py"):
        source = skeletons() / file
        shutil.copyfile(source, version / source.name)


def link(source: Path, target: Path) -> None:
    """A hard link, or a copy across file systems: bundles are replaced whole, never edited."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
