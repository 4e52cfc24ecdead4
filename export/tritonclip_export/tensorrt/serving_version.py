"""Which TensorRT will load the engines: that of the container that serves them.

A plan runs only under the TensorRT that built it, to the last number, unless it was built version
compatible. The truth is the variable TRT_VERSION in the image; the table is for machines that do
not have the image.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from tritonclip_export.bundle import Engine
from tritonclip_export.errors import RepositoryError
from tritonclip_export.server import container


@dataclass(frozen=True)
class Release:
    """A release of NVIDIA's Triton container and the TensorRT in it, as far as it is known."""

    tag: str
    tensorrt: str
    confirmed: bool
    """Read in the image, rather than reported in release notes."""


RELEASES = (
    Release("25.06", "10.11", confirmed=False),
    Release("25.08", "10.13.2", confirmed=False),
    Release("25.12", "10.14.1", confirmed=False),
    Release("26.02", "10.15.1", confirmed=True),
    Release("26.05", "10.16.1", confirmed=False),
    Release("26.06", "11", confirmed=False),
    Release("26.07", "11.1.0.106", confirmed=True),
    Release("26.09", "11.3", confirmed=False),
    Release("26.10", "11.4", confirmed=False),
)


@dataclass(frozen=True)
class Target:
    """The TensorRT of a serving container."""

    tag: str
    version: str | None
    """As many of its numbers as are known; None if nothing is."""
    known: str
    """Where the version comes from, to follow it in a sentence."""

    @property
    def images(self) -> tuple[str, str]:
        """The image that this project builds, and NVIDIA's under it."""
        return container.image_name(self.tag), container.nvidia_image(self.tag)

    def loads(self, engine: Engine) -> bool:
        """Whether this TensorRT loads `engine`, as far as both versions are known."""
        return engine.image in self.images or self.loads_version(
            engine.version, version_compatible=engine.version_compatible
        )

    def loads_version(self, version: str, *, version_compatible: bool) -> bool:
        """Whether this TensorRT loads what `version` of TensorRT built."""
        if self.version is None:
            return False
        there, built = _numbers(self.version), _numbers(version)
        known = min(len(there), len(built))
        if version_compatible:
            # NVIDIA promises it from the builder's version on, within one major version.
            return built[0] == there[0] and built[:known] <= there[:known]
        return built[:known] == there[:known]

    def __str__(self) -> str:
        if self.version is None:
            return f"the TensorRT of {self.tag} ({self.known})"
        return f"TensorRT {self.version} ({self.known})"


def find(tag: str = container.TAG, *, version: str | None = None) -> Target:
    """The TensorRT of the container release `tag`.

    Args:
        tag: the release, like `26.07`.
        version: what the user says it is; believed before anything else.

    Raises:
        RepositoryError: `version` is not a version.
    """
    if version is not None:
        if not re.fullmatch(r"\d+(\.\d+){0,3}", version):
            raise RepositoryError(
                f"{version!r} is not a version of TensorRT; the image shows it with "
                f"`docker run --rm {container.nvidia_image(tag)} printenv TRT_VERSION`"
            )
        return Target(tag, version, "as given")
    for image in Target(tag, None, "").images:
        if found := _version_in(image):
            return Target(tag, found, f"read from the image {image}")
    for release in RELEASES:
        if release.tag == tag:
            known = "confirmed" if release.confirmed else "reported, not confirmed"
            return Target(tag, release.tensorrt, f"{known} for {tag}")
    return Target(tag, None, "not known here")


def tag_with(version: str) -> str | None:
    """A release whose TensorRT is `version`, as far as the table tells; a confirmed one first."""
    built = _numbers(version)
    for release in sorted(RELEASES, key=lambda release: not release.confirmed):
        numbers = _numbers(release.tensorrt)
        if len(numbers) > 1 and built[: len(numbers)] == numbers[: len(built)]:
            return release.tag
    return None


def _version_in(image: str) -> str | None:
    """TRT_VERSION of an image that docker has here; nothing is pulled."""
    if shutil.which("docker") is None:
        return None
    command = ["docker", "image", "inspect", "--format", "{{json .Config.Env}}", image]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:  # a daemon that hangs knows no more than one that is absent
        return None
    return _trt_version(json.loads(asked.stdout)) if asked.returncode == 0 else None


def _trt_version(environment: Sequence[str]) -> str | None:
    """The version in `TRT_VERSION=11.1.0.106+cuda13.2`, whose tail says which CUDA it is for."""
    found = (re.fullmatch(r"TRT_VERSION=([\d.]+\d).*", entry) for entry in environment)
    return next((match[1] for match in found if match), None)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))
