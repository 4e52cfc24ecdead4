"""What the tests of policies share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tritonclip_cli import app

SHOP = """\
# What our shop takes.
name: emoji-shop
neutral: [an animal, a plant, a building, a bicycle, a car, a rocket, a person, a face, a guitar,
          a mountain, a round fruit, a key, an umbrella, a snowman, an elephant]
rules:
  - name: weapon
    any: [a dagger, crossed swords, a black bomb]
    unless: [a water pistol, a kitchen knife, a hammer]  # look alike and are fine
    action: block
    threshold: 0.99
  - name: face
    any: [an angry face]
    action: review   # people look at people
  - name: food
    any: [a lemon, sushi]
    action: label
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A policy for drawings."""
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP, encoding="utf-8")
    return file


@pytest.fixture
def run(
    pictures: Path,
    twemoji: dict[str, bytes],
    search_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Result]:
    """Runs a command in a folder that has `pictures`, weapons among them; errors are raised."""
    for label in ("dagger", "bomb", "water pistol", "kitchen knife", "angry face"):
        (pictures / f"{label}.png").write_bytes(twemoji[label])
    monkeypatch.chdir(pictures.parent)
    monkeypatch.setenv("TRITONCLIP_URL", search_server)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments: str, **options: str) -> Result:
        model = () if "--offline" in arguments else ("--model", "demo")
        result = CliRunner().invoke(app, [*arguments, *model], **options)  # type: ignore[arg-type]
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call
