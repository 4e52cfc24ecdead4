"""The bundle on disk: the folder that `export` writes and everything after it reads."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from pydantic import ValidationError

from tritonclip_export.bundle.contents import (
    NAME_PATTERN,
    Artifact,
    Baseline,
    BundleInfo,
    Parity,
    Precision,
    Record,
    Source,
    Tokens,
    Tower,
)
from tritonclip_export.errors import BundleError
from tritonclip_export.staging.files import whole_file

if TYPE_CHECKING:
    from typing_extensions import Unpack

FILENAME = "bundle.json"

_EXPORT = "export the checkpoint again"
_BUILD = "run `tritonclip build` again"


def require_name(name: str) -> None:
    """Make sure that models can be called by `name`.

    Raises:
        BundleError: they cannot.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise BundleError(
            f"{name!r} cannot name models; use letters, digits, '.', '_' and '-', as in 'my-clip'"
        )


class Changes(TypedDict, total=False):
    """What may differ in a copy of a bundle's info."""

    name: str
    source: Source
    dim: int
    artifacts: tuple[Artifact, ...]
    parity: tuple[Parity, ...]


class Bundle(Record):
    """A bundle on disk: its folder and what `bundle.json` says."""

    path: Path
    info: BundleInfo

    @classmethod
    def load(cls, path: Path) -> Bundle:
        """Read a bundle folder.

        Raises:
            BundleError: `bundle.json` is missing, not JSON, incomplete or of another version.
        """
        file = path / FILENAME
        if not file.is_file():
            raise BundleError(
                f"{path} is not a bundle: it has no {FILENAME}. `tritonclip export` writes one."
            )
        try:
            return cls(path=path, info=BundleInfo.model_validate_json(file.read_bytes()))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "the file"
            raise BundleError(
                f"{file} is not valid: {field}: {first['msg']}. Export the checkpoint again."
            ) from error

    @property
    def name(self) -> str:
        """The name every model of the bundle starts with on the server."""
        return self.info.name

    def artifact(self, tower: Tower, format: str = "onnx", precision: str = "fp32") -> Artifact:
        """The encoder of `tower` in that format and precision.

        Raises:
            BundleError: the bundle has none; says what it has.
        """
        for artifact in self.info.artifacts:
            if (artifact.tower, artifact.format, artifact.precision) == (tower, format, precision):
                return artifact
        has = ", ".join(f"{a.tower} {a.format} {a.precision}" for a in self.info.artifacts)
        raise BundleError(
            f"bundle {self.name!r} has no {tower} encoder as {format} {precision}; it has: {has}"
        )

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions besides FP32 in which both encoders are there as ONNX."""
        return tuple(p for p in self.precisions_as("onnx") if p != "fp32")

    def precisions_as(self, format: str) -> tuple[Precision, ...]:
        """The precisions in which both encoders are there in that format."""
        towers: dict[Precision, set[Tower]] = {}
        for artifact in self.info.artifacts:
            if artifact.format == format:
                towers.setdefault(artifact.precision, set()).add(artifact.tower)
        return tuple(precision for precision, found in towers.items() if len(found) == 2)

    def file(self, name: str) -> Path:
        """The path of a file that `bundle.json` names.

        Raises:
            BundleError: a link leads it out of the bundle.
        """
        file = self.path / name
        if not file.resolve().is_relative_to(self.path.resolve()):
            raise BundleError(
                f"{file} is a link that leads out of the bundle, to {file.resolve()}: put the file "
                f"itself in its place, or {_EXPORT}"
            )
        return file

    def check_files(self) -> None:
        """Compare every file with its recorded SHA-256.

        Raises:
            BundleError: a file is missing or differs.
        """
        for artifact in self.info.artifacts:
            self.check_artifact(artifact)
        for tokens in self.info.tokens:
            self._check(_files(tokens), tokens.sha256, _EXPORT)
        if self.info.baseline:
            self.check_baseline(self.info.baseline)
        self._check([self.info.text.tokenizer], self.info.text.tokenizer_sha256, _EXPORT)

    def check_artifact(self, artifact: Artifact) -> None:
        """Compare the files of one artifact with its recorded SHA-256.

        Raises:
            BundleError: a file is missing or differs.
        """
        exported = (artifact.format, artifact.precision) == ("onnx", "fp32")
        self._check(_files(artifact), artifact.sha256, _EXPORT if exported else _BUILD)

    def check_baseline(self, baseline: Baseline) -> None:
        """Compare the kept embeddings with their recorded SHA-256.

        Raises:
            BundleError: the file is missing or differs.
        """
        self._check([baseline.file], baseline.sha256, _EXPORT)

    def _check(self, names: list[str], expected: str, remedy: str) -> None:
        for name in names:
            if not self.file(name).is_file():
                raise BundleError(f"{self.file(name)} is missing; {remedy}")
        if sha256_of(*(self.file(name) for name in names)) != expected:
            raise BundleError(
                f"{self.file(names[0])} differs from what {FILENAME} recorded (SHA-256); "
                f"it was damaged or edited: {remedy}"
            )

    def size_of(self, artifact: Artifact) -> int:
        """The bytes of the files of one artifact."""
        return sum(self.file(name).stat().st_size for name in _files(artifact))

    def with_artifacts(self, artifacts: Sequence[Artifact]) -> Bundle:
        """This bundle with `artifacts`, each in the place of one for the same purpose."""
        purposes = {artifact.purpose for artifact in artifacts}
        kept = [a for a in self.info.artifacts if a.purpose not in purposes]
        return self.with_info(artifacts=(*kept, *artifacts))

    def with_parity(self, figures: Sequence[Parity]) -> Bundle:
        """This bundle with `figures`, each in the place of an older one of its stage."""
        stages = {figure.stage for figure in figures}
        kept = [figure for figure in self.info.parity if figure.stage not in stages]
        return self.with_info(parity=(*kept, *figures))

    def with_info(self, **changes: Unpack[Changes]) -> Bundle:
        """This bundle with fields of `bundle.json` replaced; nothing is written."""
        return Bundle(path=self.path, info=self.info.model_copy(update=dict(changes)))

    def save(self) -> None:
        """Write `bundle.json`, whole or not at all."""
        text = json.dumps(self.info.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
        with whole_file(self.path / FILENAME) as partial:
            partial.write_text(text, encoding="utf-8")


def _files(encoder: Artifact | Tokens) -> list[str]:
    return [encoder.file, *([encoder.external_data] if encoder.external_data else [])]


def sha256_of(*files: Path) -> str:
    """SHA-256 over the contents of `files`, in order, as hexadecimal digits."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
