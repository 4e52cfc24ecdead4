"""The chart of deploy/ as the real Helm renders it, and other programs to check deploy/ with."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"

Object = dict[str, Any]


class ChartRefusedError(Exception):
    """Helm does not render the chart with such values."""


def tool(name: str) -> str:
    """The path of a program; without it the test is skipped, but fails where all is to be run."""
    found = shutil.which(name, path=f"{ROOT / '.tools'}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        missing = f"there is no {name}: `make .tools/.installed` fetches it where it can"
        if "CI" in os.environ:
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def render(*files: str, values: Sequence[str] = ()) -> list[Object]:
    """The objects of the release `demo` in the namespace `clip`.

    Args:
        files: of deploy/values, by their names below it and without ending.
        values: further ones, `NAME=JSON`.

    Raises:
        ChartRefusedError: the chart's schema or a template refuses them.
    """
    done = subprocess.run(
        [
            *(tool("helm"), "template", "demo", str(DEPLOY / "chart"), "--namespace=clip"),
            *(f"--values={DEPLOY}/values/{file}.yaml" for file in files),
            *(f"--set-json={value}" for value in values),
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ChartRefusedError(done.stderr)
    return [found for found in yaml.load_all(done.stdout, yaml.CSafeLoader) if found]


def one(rendered: list[Object], kind: str, name: str) -> Object:
    """The only object of that kind and name."""
    (found,) = [r for r in rendered if r["kind"] == kind and r["metadata"]["name"] == name]
    return found
