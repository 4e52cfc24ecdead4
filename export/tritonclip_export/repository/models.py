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

from tritonclip_export.bundle import TOWERS, Bundle, Tokens
from tritonclip_export.export import token_outputs
from tritonclip_export.repository import encoder_configs, seal, warmup
from tritonclip_export.repository.encoders import (
    Encoder,
    encoders,
    takes_any_length,
    tokenizes,
)
from tritonclip_export.repository.execution import Execution
from tritonclip_export.repository.heads import ServedHead
from tritonclip_export.repository.plans import Item
from tritonclip_export.repository.runtimes import IN_PYTHON, Runtime
from tritonclip_export.served import code, parameters
from tritonclip_export.served.model_config import comments, read_config
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
        *,
        orient: bool,
        heads: Sequence[ServedHead] = (),
    ) -> None:
        self.bundle = bundle
        self.info = bundle.info
        self.folder = folder
        self.runtime = runtime
        self.execution = execution
        self.limits = limits
        self.preprocess = preprocess
        self.orient = orient
        self.heads = [head for head in heads if head.fits(bundle)]
        self.scores = [score for head in self.heads for score in head.scores]
        self.encoders = encoders(bundle, runtime, execution)
        self.any_length = takes_any_length(runtime, bundle.info)
        self.one_text_model = tokenizes(runtime, execution)
        self.max_batch = min(encoder.max_batch for encoder in self.encoders.values())
        self.dims = {
            "PIXELS": [3, self.info.image.height, self.info.image.width],
            "TOKEN_IDS": [-1 if self.info.text.dynamic_length else self.info.text.context_length],
            "EMBEDDING": [self.info.dim],
            "VECTOR": [self.info.dim],
            "SCORES": [len(self.scores)],
        }

    def write(self) -> dict[str, str]:
        """Write all models; returns engines that are still to be built, with the command."""
        self._image_preprocess()
        self._text_tokenize()
        self._text_windows()
        for tokens in self.info.tokens:
            self._tokens(tokens)
        self._zero_shot()
        self._ensembles()
        if self.heads:
            self._image_scores()
        missing: dict[str, str] = {}
        for encoder in self.encoders.values():
            missing |= self._encoder(encoder)
        return missing

    def _config(self, model: str, values: dict[str, str]) -> Any:
        """A model's skeleton with what every model takes from its bundle, and these parameters."""
        config = read_config(skeletons() / model / "config.pbtxt")
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
        return config

    def _write(
        self,
        model: str,
        config: Any,
        batches: Callable[[Item], Sequence[int]] = lambda _: (1,),
        *,
        warmed_up_as: Sequence[str] | None = None,
    ) -> Path:
        """Write a model with its code; returns its version folder.

        Args:
            model: one of the skeletons' names.
            config: of it.
            batches: for its warm-up, for an item of some dims.
            warmed_up_as: the models whose samples it is warmed up with; None for its own.
        """
        skeleton = skeletons() / model
        folder: Path = self.folder / config.name
        version = folder / "1"
        version.mkdir(parents=True)
        for name in (model,) if warmed_up_as is None else warmed_up_as:
            warmup.add(config, folder, warmup.samples_for(name, self.bundle), batches)
        text = seal.sealed(config, comments(skeleton / "config.pbtxt"))
        (folder / "config.pbtxt").write_text(text, encoding="utf-8")
        if config.backend == "python":
            for source in sorted((skeleton / "1").glob("*.py")):
                shutil.copyfile(source, version / source.name)
        return version

    def _image_preprocess(self) -> None:
        values = parameters.image_preprocess(
            self.info.image, self.limits, self.preprocess, orient=self.orient
        )
        config = self._config("image_preprocess", values)
        if self.preprocess == "dali":
            # A GPU where the server has one.
            config.instance_group[0].kind = config.instance_group[0].KIND_AUTO
        self._write("image_preprocess", config)

    def _text_tokenize(self) -> None:
        values = parameters.text_tokenize(self.info.text, self.limits, any_length=self.any_length)
        config = self._config("text_tokenize", values)
        # Where few texts come to it, its tokenizer takes no memory until one does.
        warmed_up_as = () if self.one_text_model else None
        version = self._write("text_tokenize", config, warmed_up_as=warmed_up_as)
        _copy("image_preprocess/1/lane.py", version)
        self._link_tokenizer(version)

    def _text_windows(self) -> None:
        info = self.info
        values = parameters.text_windows(
            info.name, info.text, self.max_batch, self.limits, any_length=self.any_length
        )
        config = self._config("text_windows", values)
        config.output[0].dims[:] = [-1, info.dim]
        self._add_tokenizer(self._write("text_windows", config))

    def _add_tokenizer(self, version: Path) -> None:
        """To a model that is not `text_tokenize`."""
        _copy("text_tokenize/1/tokens.py", version)
        self._link_tokenizer(version)

    def _link_tokenizer(self, version: Path) -> None:
        tokenizer = self.info.text.tokenizer
        link(self.bundle.file(tokenizer), version / tokenizer)

    def _tokens(self, tokens: Tokens) -> None:
        """Write an optional output: its ensemble, and the graph that it ends in."""
        model, graph = f"{tokens.tower}_tokens", f"{tokens.tower}_tokens_encoder"
        ensemble = self._config(model, {f"{parameters.PREFIX}layer": str(tokens.layer)})
        encoder = self._config(graph, {})
        for tensor in (*ensemble.output, *encoder.output):
            if tensor.name == token_outputs.OUTPUT:
                tensor.dims[:] = [tokens.count or self.dims["TOKEN_IDS"][0], tokens.width]
        # The graph is ONNX; NVIDIA's container has both backends.
        encoder.backend = "python" if self.runtime in IN_PYTHON else "onnxruntime"
        if self.runtime in IN_PYTHON:
            encoder.parameters["intra_op_threads"].string_value = "0"  # one for each core
            encoder.parameters["device"].string_value = "auto"
            encoder.instance_group.add(kind="KIND_CPU", count=1)
        version = self._write(graph, encoder)
        link(self.bundle.file(tokens.file), version / "model.onnx")
        if tokens.external_data:
            link(self.bundle.file(tokens.external_data), version / tokens.external_data)
        if self.runtime in IN_PYTHON:
            _copy_code("onnx_runtime", version)
        self._write(model, ensemble)

    def _zero_shot(self) -> None:
        values = parameters.zero_shot(self.info.name, self.info.similarity, self.max_batch)
        self._write("zero_shot", self._config("zero_shot", values))

    def _ensembles(self) -> None:
        precisions = {tower: encoder.precision for tower, encoder in self.encoders.items()}
        described = parameters.description(
            self.info, self.runtime, precisions, self.limits, self.preprocess, orient=self.orient
        )
        if self.heads:
            described |= parameters.scores(self.scores)
        for model in TOWERS:
            config = self._config(model, described)
            if model == "text" and self.one_text_model:
                _leave_out_tokenizing(config)
            self._write(model, config)

    def _image_scores(self) -> None:
        files = {f"{place}.safetensors": head.file for place, head in enumerate(self.heads)}
        version = self._write("image_head", self._config("image_head", parameters.heads(files)))
        for name, content in files.items():
            (version / name).write_bytes(content)
        self._write("image_scores", self._config("image_scores", parameters.scores(self.scores)))

    def _encoder(self, encoder: Encoder) -> dict[str, str]:
        """Write an encoder; returns engines that are still to be built, with the command."""
        values = {}
        if encoder.tower == "text" and self.any_length:
            values["padding"] = self._padding()
        model = f"{encoder.tower}_encoder"
        takes_texts = encoder.tower == "text" and self.one_text_model
        if takes_texts:
            values |= parameters.text_tokenize(
                self.info.text, self.limits, any_length=self.any_length
            )
        config = self._config(model, values)
        if takes_texts:
            _take_texts(config)
        encoder_configs.complete(config, encoder, self.runtime, self.execution)
        version = self._write(
            model,
            config,
            lambda item: encoder_configs.warmup_batches(encoder, item, self.max_batch),
            warmed_up_as=("text_encoder", "text_tokenize") if takes_texts else None,
        )
        if takes_texts:
            self._add_tokenizer(version)
            _copy("image_preprocess/1/lane.py", version)
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


def _take_texts(config: Any) -> None:
    """Let the text encoder take TEXT in place of TOKEN_IDS."""
    config.input.add().CopyFrom(read_config(skeletons() / "text_tokenize/config.pbtxt").input[0])
    for tensor in config.input:
        tensor.optional = True


def _leave_out_tokenizing(config: Any) -> None:
    """Give the ensemble's TEXT to the text encoder."""
    tokenize, encode = config.ensemble_scheduling.step
    encode.input_map.clear()
    encode.input_map.update(tokenize.input_map)
    config.ensemble_scheduling.step.remove(tokenize)


def _copy_code(library: str, version: Path) -> None:
    """What answers with an encoder in Triton's Python backend, and runs it with that library."""
    for file in ("encoders/answers.py", "image_preprocess/1/cores.py", f"{library}/model.py"):
        _copy(file, version)


def _copy(file: str, version: Path) -> None:
    """A file of `model_repository/` that another model has as well."""
    source = skeletons() / file
    shutil.copyfile(source, version / source.name)


def link(source: Path, target: Path) -> None:
    """A hard link, or a copy across file systems: bundles are replaced whole, never edited."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
