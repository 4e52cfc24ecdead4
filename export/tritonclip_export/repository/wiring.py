"""Whether the models of a repository fit together, checked before a server would find out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from tritonclip_export.errors import RepositoryError
from tritonclip_export.served.model_config import data_type_name, read_config

Signature = tuple[int, tuple[int, ...]]


def check_repository(repository: Path) -> None:
    """Check every config in `repository`.

    Raises:
        RepositoryError: a config that does not parse, is named unlike its folder, or names files
            outside of it; a Python model without code; an ensemble step whose model,
            tensor, type or shape does not exist.
    """
    configs = {file.parent.name: read_config(file) for file in repository.glob("*/config.pbtxt")}
    for name, config in configs.items():
        if config.name != name:
            raise RepositoryError(f"{repository / name}: its config calls it {config.name!r}")
        if config.backend == "python" and not (repository / name / "1" / "model.py").is_file():
            raise RepositoryError(f"{repository / name} is a Python model without 1/model.py")
        for file in _named_files(config):
            if PurePosixPath(file).name != file:
                raise RepositoryError(f"{name}: its config names {file!r}, outside of its folder")
        if config.platform == "ensemble":
            _check_ensemble(config, configs)


def _named_files(config: Any) -> Iterator[str]:
    """What a server reads for a model by the names in its config."""
    yield from filter(None, [config.default_model_filename, *config.cc_model_filenames.values()])
    for sample in config.model_warmup:
        yield from (i.input_data_file for i in sample.inputs.values() if i.input_data_file)


def _check_ensemble(ensemble: Any, configs: dict[str, Any]) -> None:
    """Follow every tensor through the steps, comparing data type and dims where it is used."""
    flowing: dict[str, Signature] = {t.name: _signature(t) for t in ensemble.input}
    for step in ensemble.ensemble_scheduling.step:
        if step.model_name not in configs:
            raise RepositoryError(f"{ensemble.name}: its step {step.model_name} does not exist")
        model = configs[step.model_name]
        if model.max_batch_size < ensemble.max_batch_size:
            raise RepositoryError(
                f"{ensemble.name} takes batches of {ensemble.max_batch_size}, its step "
                f"{model.name} only {model.max_batch_size}"
            )
        inputs = {t.name: _signature(t) for t in model.input}
        for name, source in step.input_map.items():
            _same(ensemble.name, f"{model.name}.{name}", inputs.get(name), flowing.get(source))
        outputs = {t.name: _signature(t) for t in model.output}
        for name, target in step.output_map.items():
            if name not in outputs:
                raise RepositoryError(f"{ensemble.name}: {model.name} has no output {name}")
            flowing[target] = outputs[name]
    for tensor in ensemble.output:
        _same(ensemble.name, tensor.name, _signature(tensor), flowing.get(tensor.name))


def _signature(tensor: Any) -> Signature:
    return tensor.data_type, tuple(tensor.dims)


def _same(ensemble: str, where: str, wanted: Signature | None, given: Signature | None) -> None:
    if wanted is None or wanted != given:
        raise RepositoryError(
            f"{ensemble}: {where} wants {_described(wanted)} and is given {_described(given)}"
        )


def _described(signature: Signature | None) -> str:
    return f"{data_type_name(signature[0])} {list(signature[1])}" if signature else "nothing"
