"""All that `bundle.json` holds, parsed once into these models.

A file that does not fit them is refused with the field that is wrong. Files are named relative to
the bundle and carry their SHA-256, so that a later step can tell whether anything changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

# A bundle's name begins the names of its models, which are folders on the server and parts of URLs.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"

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


def inside(name: str) -> str:
    """`name`, if it is that of a file in or below the folder of what names it.

    Raises:
        ValueError: it is empty or absolute, or leads out of the folder.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or {"\\", "\0"} & set(name):
        raise ValueError(f"{name!r} is not the name of a file inside the folder")
    return name


FileInside = Annotated[str, AfterValidator(inside)]


class Record(BaseModel):
    """Frozen, and without fields that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Record):
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


class ImageSpec(Record):
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


class TextSpec(Record):
    """How a string becomes TOKEN_IDS."""

    context_length: Annotated[int, Field(gt=1)]
    tokenizer: FileInside
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


class Similarity(Record):
    """How cosine becomes a probability: softmax over labels, or sigmoid per label (SigLIP)."""

    kind: Literal["softmax", "sigmoid"]
    logit_scale: Annotated[float, Field(gt=0)]
    logit_bias: float = 0.0


class Binding(Record):
    """One tensor of an engine, as the compiler reports it."""

    name: str
    mode: Literal["input", "output"]
    dtype: Literal["uint8", "int32", "int64", "fp32", "fp16", "bf16"]
    shape: tuple[int, ...]
    """-1 where a dimension is dynamic."""


class Profile(Record):
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


class Engine(Record):
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


class Artifact(Record):
    """One encoder in one format and precision."""

    tower: Tower
    format: Literal["onnx", "tensorrt", "tensorrt-rtx", "openvino"]
    precision: Precision
    file: FileInside
    external_data: FileInside | None = None
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


class Tokens(Record):
    """A tower up to one of its layers, with a vector for each token: ONNX in FP32."""

    tower: Tower
    layer: Annotated[int, Field(lt=0)]
    """From the end: -1 is the last."""
    count: int | None
    """Patches of an image; None for texts, whose length varies."""
    width: Annotated[int, Field(gt=0)]
    file: FileInside
    external_data: FileInside | None = None
    sha256: str
    max_batch: Annotated[int, Field(gt=0)]


class Baseline(Record):
    """Embeddings by the FP32 graphs, of what `export` measured them on."""

    file: FileInside
    """NumPy's .npz: `images` and `texts`, [n, dim] each."""
    sha256: str
    made_from: str
    """SHA-256 over the graphs and the tensors that they were given."""


class Parity(Record):
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


class BundleInfo(Record):
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
    baseline: Baseline | None = None
    """What builds compare with; without it they run the graphs."""
    parity: tuple[Parity, ...] = ()
