"""The engines of one tower in one repository: which are served, under which names, what they take.

A version folder holds one plan for each compute capability, and Triton picks by the GPU it finds
(`cc_model_filenames`), so that one repository serves, say, L4 and H100.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from tritonclip_export.bundle import Artifact, Binding, Bundle, Engine, Precision, Profile, Tower
from tritonclip_export.errors import RepositoryError
from tritonclip_export.tensorrt.capabilities import sm
from tritonclip_export.tensorrt.serving_version import Target, tag_with

# Of the precisions for which a tower has engines, the one that is served unless the user says.
PREFERENCE: tuple[Precision, ...] = ("fp16", "bf16", "fp32")

AMPERE_PLUS = "ampere_plus"

Item = tuple[int, ...]
"""The shape of one image or one text as an encoder takes it, without batch."""


@dataclass(frozen=True)
class Plans:
    """The plans of one tower, by what they are for: `8.9`, `9.0`, or `ampere_plus`."""

    precision: Precision
    engines: dict[str, tuple[Artifact, Engine]]

    @property
    def version_compatible(self) -> bool:
        """Whether the server must allow engines that bring their own runtime."""
        return any(engine.version_compatible for _, engine in self.engines.values())

    @property
    def profiles(self) -> int:
        """How many optimization profiles each of the engines has."""
        return len(self._any.profiles)

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """The tensors, alike in all of the engines."""
        return self._any.bindings

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions of TensorRT that built the engines."""
        return tuple(sorted({engine.version for _, engine in self.engines.values()}))

    def max_batch(self, items: Sequence[Item]) -> int:
        """The largest batch of each of `items` that every engine takes."""
        return min(
            largest_batch(engine.profiles, item)
            for _, engine in self.engines.values()
            for item in items
        )

    def tuned_batches(self, item: Item, limit: int) -> list[int]:
        """The batches of `item` for which kernels were chosen, up to `limit`."""
        chosen = {
            min(profile.opt[0], limit)
            for _, engine in self.engines.values()
            for profile in engine.profiles
            if profile.takes(item)
        }
        return sorted(chosen)

    @property
    def _any(self) -> Engine:
        return next(iter(self.engines.values()))[1]


def choose(
    bundle: Bundle,
    tower: Tower,
    items: Sequence[Item],
    *,
    precision: Precision | None,
    target: Target,
) -> Plans | None:
    """The engines of `tower` that the TensorRT of `target` loads; None if the bundle has none.

    Args:
        bundle: whose engines.
        tower: which of its encoders.
        items: the shapes that the server will send to it.
        precision: the one to serve; None for fp16, or what there is.
        target: the TensorRT that will load them.

    Raises:
        RepositoryError: there are engines, but of another TensorRT, only for TensorRT-RTX, from a
            graph that has changed, with different tensors, or without a profile for an item.
    """
    built = [
        (artifact, artifact.engine)
        for artifact in bundle.info.artifacts
        if (artifact.tower, artifact.format) == (tower, "tensorrt") and artifact.engine
    ]
    if not built:
        _refuse_rtx_alone(bundle, tower, precision)
    has = {artifact.precision for artifact, _ in built}
    precision = precision or next((p for p in PREFERENCE if p in has), None)
    built = [(artifact, engine) for artifact, engine in built if artifact.precision == precision]
    if precision is None or not built:
        return None
    engines: dict[str, tuple[Artifact, Engine]] = {}
    for purpose in sorted({_purpose(engine) for _, engine in built}):
        # The newest first.
        candidates = [pair for pair in reversed(built) if _purpose(pair[1]) == purpose]
        loaded = [pair for pair in candidates if target.loads(pair[1])]
        if not loaded:
            raise _wrong_version(bundle, *candidates[0], target)
        # A version-compatible one is slower, and runs code from the plan.
        engines[purpose] = min(loaded, key=lambda pair: pair[1].version_compatible)
    for artifact, engine in engines.values():
        _check(bundle, artifact, engine, items)
    _check_alike(bundle, tower, [engine for _, engine in engines.values()])
    return Plans(precision, engines)


def by_capability(purposes: Collection[str]) -> dict[str, str]:
    """File names by compute capability, for `cc_model_filenames`."""
    return {purpose: file_name(purpose) for purpose in purposes if purpose != AMPERE_PLUS}


def default_file(purposes: Collection[str]) -> str:
    """The file for a GPU of any other capability.

    The one that does for several; else any, because TensorRT's refusal says what it was built for.
    """
    if AMPERE_PLUS in purposes:
        return file_name(AMPERE_PLUS)
    return file_name(min(purposes, key=float))


def file_name(purpose: str) -> str:
    """The plan's name in a version folder: `model_sm89.plan` for `8.9`."""
    if purpose == AMPERE_PLUS:
        return "model_ampere_plus.plan"
    return f"model_{sm(purpose)}.plan"


def build_command(bundle: Bundle, precision: Precision | None, *, tag: str | None = None) -> str:
    """What builds engines: here, or in the image that serves `tag`."""
    command = ["tritonclip", "build", str(bundle.path), "--precision", precision or PREFERENCE[0]]
    return shlex.join([*command, *(("--container", "--tag", tag) if tag else ())])


def largest_batch(profiles: Iterable[Profile], item: Item) -> int:
    """The largest n so that batches of 1 to n of `item` are each within one of `profiles`."""
    batch = 0
    fitting = sorted((p.min[0], p.max[0]) for p in profiles if p.takes(item))
    for low, high in fitting:
        if low <= batch + 1:
            batch = max(batch, high)
    return batch


def _purpose(engine: Engine) -> str:
    if engine.hardware_compatibility == AMPERE_PLUS:
        return AMPERE_PLUS
    return engine.compute_capability


def _refuse_rtx_alone(bundle: Bundle, tower: Tower, precision: Precision | None) -> None:
    rtx = [
        artifact.file
        for artifact in bundle.info.artifacts
        if (artifact.tower, artifact.format) == (tower, "tensorrt-rtx")
    ]
    if rtx:
        raise RepositoryError(
            f"the {tower} tower of bundle {bundle.name!r} has only engines of TensorRT-RTX "
            f"({', '.join(rtx)}), which Triton's tensorrt backend does not load: it takes plans of "
            f"the full TensorRT, and they are built on a machine with the GPU: "
            f"`{build_command(bundle, precision)}`"
        )


def _wrong_version(
    bundle: Bundle, artifact: Artifact, engine: Engine, target: Target
) -> RepositoryError:
    what = f"{artifact.file} of bundle {bundle.name!r} was built by TensorRT {engine.version}"
    if target.version is None:
        image = target.images[1]
        return RepositoryError(
            f"{what}, and nothing here tells which TensorRT the container {target.tag} has: "
            f"`docker pull {image}`, or say it with --tensorrt VERSION; "
            f"`docker run --rm {image} printenv TRT_VERSION` shows it"
        )
    if engine.version_compatible:
        rule = "being version compatible, it runs under that or a later one of the same major"
    else:
        rule = "a plan runs only under the version that built it"
    build = build_command(bundle, artifact.precision, tag=target.tag)
    other = tag_with(engine.version)
    serve = f", or serve it with the container {other} (--tag {other})" if other else ""
    return RepositoryError(
        f"{what}, the server has {target}; {rule}. Build it in the image that serves: "
        f"`{build}`{serve}"
    )


def _check(bundle: Bundle, artifact: Artifact, engine: Engine, items: Sequence[Item]) -> None:
    """Refuse an engine that is out of date or cannot take what the server will send."""
    problem = None
    graphs = {
        graph.sha256
        for graph in bundle.info.artifacts
        if (graph.tower, graph.format, graph.precision)
        == (artifact.tower, "onnx", artifact.precision)
    }
    if graphs and engine.graph_sha256 not in graphs:
        problem = f"was compiled from another graph than the bundle's {artifact.precision} one"
    elif fixed := [binding.name for binding in engine.bindings if binding.shape[:1] != (-1,)]:
        problem = f"has a fixed batch in {', '.join(fixed)}"
    elif refused := [item for item in items if not largest_batch(engine.profiles, item)]:
        shapes = ", ".join("x".join(map(str, (1, *item))) for item in refused)
        problem = f"has no optimization profile for {shapes}, which the server would send"
    if problem:
        raise RepositoryError(
            f"{artifact.file} of bundle {bundle.name!r} {problem}; build it again: "
            f"`{build_command(bundle, artifact.precision)}`"
        )


def _check_alike(bundle: Bundle, tower: Tower, engines: list[Engine]) -> None:
    """One config describes all engines of a tower, so they must have the same form."""
    first = engines[0]
    for other in engines[1:]:
        for what, alike in (
            ("tensors", other.bindings == first.bindings),
            ("numbers of profiles", len(other.profiles) == len(first.profiles)),
        ):
            if not alike:
                raise RepositoryError(
                    f"the engines of the {tower} tower of bundle {bundle.name!r} for compute "
                    f"capability {first.compute_capability} and {other.compute_capability} have "
                    f"different {what}; build both with the same options"
                )
