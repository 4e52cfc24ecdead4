"""The bundle: the folder that `export` writes and everything after it reads.

`bundle.json` is parsed once, here, into these models; a file that does not fit them is refused with
the field that is wrong. Files are named relative to the bundle and carry their SHA-256, so that a
later step can tell whether anything changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tritonclip_export.errors import BundleError

FILENAME = "bundle.json"

# A bundle's name begins the names of its models, which are folders on the server and parts of URLs.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"

_EXPORT = "export the checkpoint again"
_BUILD = "run `tritonclip build` again"

Tower = Literal["image", "text"]
TOWERS: tuple[Tower, ...] = get_args(Tower)
Precision = Literal["fp32", "fp16", "bf16", "int8"]
HardwareCompatibility = Literal["none", "same_compute_capability", "ampere_plus"]
CleaningRule = Literal[
    "fix_encoding",
    "unescape_html",
    "remove_punctuation",
    "lowercase",
    "collapse_whitespace",
    "siglip",
]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Record):
    """Where the weights came from."""

    library: str
    library_version: str
    reference: str
    """What the user typed: `ViT-B-32:laion2b_s34b_b79k`, `hf-hub:org/name`, a folder."""
    architecture: str
    weights: str
    """A pretrained tag, a file, `default` (all that a hub model or a folder has), or `random`."""
    random_seed: int | None = None
    language: str | None = None
    """The code that NLLB's tokenizer puts in front of texts, if not its default."""
    weights_sha256: str
    """Over names, shapes and values of every tensor: independent of the file format."""


class ImageSpec(_Record):
    """How an image becomes PIXELS, and PIXELS a normalised tensor."""

    height: Annotated[int, Field(gt=0)]
    width: Annotated[int, Field(gt=0)]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear", "lanczos"]
    resize_mode: Literal["shortest", "longest", "squash"]
    short_side: Annotated[int, Field(gt=0)] | None = None
    """What the shorter side becomes before the crop, where that is not the crop's own size."""
    fill: Annotated[int, Field(ge=0, le=255)]
    """Padding colour of `longest`, all channels alike."""
    rules: Literal["open_clip", "transformers"] = "open_clip"
    """Whose order of steps and whose roundings."""
    transparency: Literal["ignore", "white"] = "ignore"
    """Whether an alpha channel is dropped, or the image laid on white (transformers since 5)."""


class TextSpec(_Record):
    """How a string becomes TOKEN_IDS."""

    context_length: Annotated[int, Field(gt=1)]
    tokenizer: str
    tokenizer_sha256: str
    cleaning: tuple[CleaningRule, ...]
    pad_id: Annotated[int, Field(ge=0)]
    last_id: int | None = None
    """An id at the last place of the context, behind the padding (open_clip's mode `clips`)."""
    replaced_ids: dict[int, int] = {}
    """Ids that are exchanged for others (CLIPA's separator for padding)."""
    dynamic_length: bool
    """True where the tower gives the same embedding at any padded length (causal and pooled at the
    end of the text, or with its padding masked): ids are then padded to the next bucket instead of
    the context length."""


class Similarity(_Record):
    """How cosine becomes a probability: softmax over labels, or sigmoid per label (SigLIP)."""

    kind: Literal["softmax", "sigmoid"]
    logit_scale: Annotated[float, Field(gt=0)]
    logit_bias: float = 0.0


class Binding(_Record):
    """One tensor of an engine, as the compiler reports it."""

    name: str
    mode: Literal["input", "output"]
    dtype: Literal["uint8", "int32", "int64", "fp32", "fp16", "bf16"]
    shape: tuple[int, ...]
    """-1 where a dimension is dynamic."""


class Profile(_Record):
    """One optimization profile: the shapes of the input that the engine takes, batch first."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]

    def takes(self, item: Sequence[int]) -> bool:
        """Whether it takes items of that shape (batch left out), in batches of some size."""
        least, most = self.min[1:], self.max[1:]
        return len(item) == len(least) and all(
            low <= size <= high for low, size, high in zip(least, item, most, strict=True)
        )


class Engine(_Record):
    """What a compiled encoder needs to run, read from the compiler, never assumed."""

    graph_sha256: str
    """Of the graph it was compiled from: where that has changed, the engine is out of date."""
    version: str
    """Of the TensorRT or TensorRT-RTX that built it, all four numbers."""
    compute_capability: str
    """`8.9`: of the GPU it was built on, or for."""
    hardware_compatibility: HardwareCompatibility = "none"
    version_compatible: bool = False
    refittable: bool = False
    optimization_level: int
    workspace_bytes: int | None = None
    bindings: tuple[Binding, ...]
    profiles: Annotated[tuple[Profile, ...], Field(min_length=1)]
    layers: int | None = None
    """Of one profile, after fusion; None where the compiler does not tell."""
    device_memory_bytes: int | None = None
    """Activations of one execution context, without the weights."""
    build_seconds: float
    size_bytes: int
    image: str | None = None
    """The container image in which it was built."""


class Artifact(_Record):
    """One encoder in one format and precision."""

    tower: Tower
    format: Literal["onnx", "tensorrt", "tensorrt-rtx", "openvino"]
    precision: Precision
    file: str
    external_data: str | None = None
    """The weights beside a graph that passes protobuf's 2 GB, and beside every OpenVINO model."""
    sha256: str
    """Over the file and its external data."""
    max_batch: Annotated[int, Field(gt=0)]
    opset: int | None = None
    built_with: dict[str, str]
    recipe: str | None = None
    """SHA-256 over all that decides the content (the graph it is made from, the options, the
    compiler): a step whose recipe is already there has nothing to do."""
    kept_fp32: tuple[str, ...] = ()
    """Patterns of layers that a graph of lower precision was told to keep in FP32."""
    engine: Engine | None = None
    """Only for engines."""

    @property
    def purpose(self) -> tuple[str, ...]:
        """What a bundle has at most one artifact for."""
        engine = self.engine
        gpus = (engine.compute_capability, engine.hardware_compatibility) if engine else ()
        return (self.tower, self.format, self.precision, *gpus)


class Tokens(_Record):
    """A tower up to one of its layers, with a vector for each token: ONNX in FP32."""

    tower: Tower
    layer: Annotated[int, Field(lt=0)]
    """From the end: -1 is the last."""
    count: int | None
    """Patches of an image; None for texts, whose length varies."""
    width: Annotated[int, Field(gt=0)]
    file: str
    external_data: str | None = None
    sha256: str
    max_batch: Annotated[int, Field(gt=0)]


class Parity(_Record):
    """Agreement of one stage with the one before it; see `tritonclip_export.parity`."""

    stage: str
    samples: int
    max_abs_error: float
    mean_abs_error: float
    min_cosine: float | None = None
    relative_to_spread: float | None = None
    retrieval_agreement: float | None = None
    passed: bool
    tolerance: str


class BundleInfo(_Record):
    """The content of `bundle.json`."""

    format_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    exporter_version: str
    source: Source
    dim: Annotated[int, Field(gt=0)]
    image: ImageSpec
    text: TextSpec
    similarity: Similarity
    artifacts: tuple[Artifact, ...]
    tokens: tuple[Tokens, ...] = ()
    """Optional outputs."""
    parity: tuple[Parity, ...] = ()


class Bundle(_Record):
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
        """The path of a file that `bundle.json` names."""
        return self.path / name

    def check_files(self) -> None:
        """Compare every file with its recorded SHA-256.

        Raises:
            BundleError: a file is missing or differs.
        """
        for artifact in self.info.artifacts:
            self.check_artifact(artifact)
        for tokens in self.info.tokens:
            self._check(_files(tokens), tokens.sha256, _EXPORT)
        self._check([self.info.text.tokenizer], self.info.text.tokenizer_sha256, _EXPORT)

    def check_artifact(self, artifact: Artifact) -> None:
        """Compare the files of one artifact with its recorded SHA-256.

        Raises:
            BundleError: a file is missing or differs.
        """
        exported = (artifact.format, artifact.precision) == ("onnx", "fp32")
        self._check(_files(artifact), artifact.sha256, _EXPORT if exported else _BUILD)

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
        return self.with_info(artifacts=[a.model_dump() for a in (*kept, *artifacts)])

    def with_parity(self, figures: Sequence[Parity]) -> Bundle:
        """This bundle with `figures`, each in the place of an older one of its stage."""
        stages = {figure.stage for figure in figures}
        kept = [figure for figure in self.info.parity if figure.stage not in stages]
        return self.with_info(parity=[figure.model_dump() for figure in (*kept, *figures)])

    def with_info(self, **changes: object) -> Bundle:
        """This bundle with fields of `bundle.json` replaced and validated; nothing is written."""
        data = self.info.model_dump() | changes
        return Bundle(path=self.path, info=BundleInfo.model_validate(data))

    def save(self) -> None:
        """Write `bundle.json`, whole or not at all."""
        text = json.dumps(self.info.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
        partial = self.path / f".{FILENAME}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.path / FILENAME)


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
