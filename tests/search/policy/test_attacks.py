"""Policies that are misled on purpose, and what helps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from tritonclip import Client
from tritonclip.errors import InvalidArgument
from tritonclip_search import SourceError
from tritonclip_search.policy.attacks import MEASURES, written_on
from tritonclip_search.policy.crops import crops, mean
from tritonclip_search.policy.pictures import from_files
from tritonclip_search.sources.item import Problem

Run = Callable[..., Result]


def test_words_are_drawn_into_the_middle_of_a_picture() -> None:
    picture = Image.new("RGB", (200, 100), "red")
    drawn = np.asarray(written_on(picture, "knife"))
    blank = np.asarray(written_on(picture, ""))
    assert (drawn[0, 0] == (255, 0, 0)).all()
    assert (blank[50, 100] == (255, 255, 255)).all()
    assert (blank[40:60, 60:140] == 255).all()
    assert drawn[40:60, 60:140].min() < 50
    long = np.asarray(written_on(picture, "a rather long description of nothing"))
    assert (long[:, :19] == (255, 0, 0)).all()  # it stays within the label


def test_an_attack_says_what_flips_and_what_each_measure_gives_back(run: Run, shop: Path) -> None:
    del shop
    result = run("policy", "attack", "shop.yaml", "pictures", "--sample", "8", "--json")
    assert result.exit_code == 0, result.stderr
    measured = json.loads(result.stdout)
    rows = {(one["rule"], one["attack"]): one for one in measured["flips"]}
    assert {rule for rule, _ in rows} == {"weapon", "face", "food"}
    assert {attack for _, attack in rows} == {
        *("turned by 15 degrees", "turned by 90 degrees", "cropped to 80 %"),
        *("saved with low quality", "a blank label", "words"),
    }
    for one in rows.values():
        assert one["pictures"] == 8
        assert one["flipped"].keys() == set(MEASURES)
        assert one["flipped"]["none"] == (one["hidden"] + one["framed"]) / 8
        assert one["flipped"]["review"] <= one["flipped"]["none"]
    assert sum(one["hidden"] + one["framed"] for one in rows.values()) > 0
    assert {cost["measure"] for cost in measured["costs"]} == set(MEASURES[1:])
    table = run("policy", "attack", "shop.yaml", "pictures", "--sample", "3").stdout
    assert "with contrast" in table
    assert "go to a person on unharmed pictures" in table


def test_crops_are_looked_at_where_that_is_asked_for(run: Run, shop: Path, client: Client) -> None:
    del shop
    problems: list[Problem] = []
    Path("pictures/broken.png").write_bytes(b"nothing")
    names = ["pictures/cat.png", "pictures/broken.png", "pictures/dog.png"]
    found = list(from_files(names, client, problems.append, in_crops=True))
    assert [Path(one.path).stem for one in found] == ["cat", "dog"]
    assert [Path(problem.path).stem for problem in problems] == ["broken"]
    with Image.open("pictures/dog.png") as image:
        expected = mean(client.embed_images(crops(image.convert("RGB"))))
    np.testing.assert_allclose(found[1].vector, expected, atol=1e-5)
    plain = json.loads(
        run("moderate", "--policy", "shop.yaml", "pictures/dog.png", "--json").stdout
    )
    cropped = run("moderate", "--policy", "shop.yaml", "pictures/dog.png", "--crops", "--json")
    assert json.loads(cropped.stdout)["pictures"][0]["score"] != plain["pictures"][0]["score"]


def test_mistakes_with_attacks_are_named(run: Run, shop: Path, tmp_path: Path) -> None:
    del shop
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(SourceError, match="none of the files is a picture"):
        run("policy", "attack", "shop.yaml", "a.png")
    with pytest.raises(SourceError, match="absent: no such file or folder"):
        run("policy", "attack", "shop.yaml", "absent")
    with pytest.raises(InvalidArgument, match="--crops looks at pictures anew; name their paths"):
        run("moderate", "--policy", "shop.yaml", "--crops")
