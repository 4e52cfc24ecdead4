"""`moderate` and `policy check`, as a shell sees them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from tritonclip import Client
from tritonclip.errors import InvalidArgument
from tritonclip_search import CollectionNotFound, InvalidPolicy, SourceError
from tritonclip_search.policy import decide, load, prepare

Run = Callable[..., Result]
MODERATE = ("moderate", "--policy", "shop.yaml")


def decided(result: Result) -> dict[str, str]:
    """Decisions by the pictures' names."""
    found = json.loads(result.stdout)["pictures"]
    return {Path(one["path"]).stem: one["decision"] for one in found}


def test_pictures_are_decided_on_with_their_evidence(run: Run, shop: Path, client: Client) -> None:
    result = run(*MODERATE, "pictures", "--json")
    assert result.exit_code == 4
    found = decided(result)
    assert len(found) == 25
    assert {name for name, what in found.items() if what == "block"} == {"dagger", "bomb"}
    assert found["angry face"] == "review"
    assert found["lemon"] == "label"
    assert found["water pistol"] == found["kitchen knife"] == found["cat"] == "allow"
    answer = json.loads(result.stdout)
    assert answer["policy"] == "emoji-shop"
    assert answer["counts"]["block"] == 2
    dagger = next(one for one in answer["pictures"] if one["path"].endswith("dagger.png"))
    (expected,) = decide(prepare(load(shop), client), client.embed_images("pictures/dagger.png"))
    assert (dagger["rule"], dagger["prompt"]) == ("weapon", "a dagger")
    assert dagger["margin"] == pytest.approx(expected.margin, abs=1e-4)
    assert dagger["score"] == pytest.approx(expected.score, abs=1e-6)
    assert [rule["rule"] for rule in dagger["rules"]] == ["weapon", "face", "food"]


def test_a_collection_is_decided_on_without_embedding_anything(run: Run, shop: Path) -> None:
    del shop
    run("index", "pictures")
    for file in Path("pictures").iterdir():
        file.unlink()
    result = run(*MODERATE, "--json")
    assert result.exit_code == 4
    assert decided(result)["dagger"] == "block"
    assert len(decided(result)) == 25
    one = run(*MODERATE, "--where", "path = pictures/cat.png", "--json")
    assert decided(one) == {"cat": "allow"}
    assert one.exit_code == 0


def test_the_table_has_the_most_severe_first_and_the_status_says_so(run: Run, shop: Path) -> None:
    del shop
    result = run(*MODERATE, "pictures")
    lines = result.stdout.splitlines()
    assert lines[0].split() == [
        "decision",
        "rule",
        "prompt",
        "score",
        "probability",
        "margin",
        "path",
    ]
    assert [line.split()[0] for line in lines[1:4]] == ["block", "block", "review"]
    assert "cat.png" not in result.stdout
    assert lines[-1].startswith("25 pictures: 2 block, 1 review, ")
    assert "cat.png" in run(*MODERATE, "pictures", "--all").stdout
    assert run(*MODERATE, "pictures/angry face.png").exit_code == 3
    assert run(*MODERATE, "pictures/lemon.png").exit_code == 0


def test_the_page_shows_nothing_until_it_is_clicked(run: Run, shop: Path) -> None:
    del shop
    run(*MODERATE, "pictures", "--page", "page.html")
    page = Path("page.html").read_text(encoding="utf-8")
    assert page.count('<input type="checkbox"') == page.count("<img ") == 25
    assert "img { filter: blur(14px); }" in page
    headings = re.findall(r"<h2>(\w+): (\d+)", page)
    assert headings[0] == ("block", "2")
    assert [what for what, _ in headings] == ["block", "review", "label", "allow"]
    margins = [float(found) for found in re.findall(r"margin ([+-][\d.]+)", page)]
    assert margins[0] > margins[1] > 0
    assert margins[-1] == min(margins)
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|file:)', page)


def test_what_cannot_be_read_is_no_pass(run: Run, shop: Path) -> None:
    del shop
    Path("pictures/broken.png").write_bytes(b"nothing")
    result = run(*MODERATE, "pictures/broken.png", "pictures/cat.png")
    assert result.exit_code == 1
    assert "failed: " in result.stderr
    assert "broken.png" in result.stderr
    assert "1 pictures: 0 block, 0 review, 0 label, 1 allow" in result.stdout


def test_mistakes_with_moderate_are_named(run: Run, shop: Path) -> None:
    with pytest.raises(SourceError, match="absent: no such file or folder"):
        run(*MODERATE, "absent")
    with pytest.raises(CollectionNotFound, match="there is no collection 'pictures'"):
        run(*MODERATE)
    with pytest.raises(InvalidArgument, match="--where asks a collection"):
        run(*MODERATE, "pictures", "--where", "width > 3")
    shop.write_text(shop.read_text().replace("action: block", "actoin: block"))
    with pytest.raises(InvalidPolicy, match=r"shop\.yaml:9: .*did you mean 'action'\?"):
        run(*MODERATE, "pictures")


def test_a_sound_policy_has_nothing_to_find(run: Run, shop: Path) -> None:
    del shop
    result = run("policy", "check", "shop.yaml")
    assert result.exit_code == 0
    assert result.stdout == "3 rules, nothing to find\n"
    offline = run("policy", "check", "shop.yaml", "--offline")
    assert offline.stdout == "3 rules, nothing to find; no model was asked\n"


CONTRADICTIONS = """\
name: odd
neutral: [a dog, a face]
rules:
  - {name: cats, any: [a cat, a dog, a cat], unless: [a cat], action: block, threshold: 0.6}
  - {name: pets, any: [a rabbit], action: label}
  - {name: again, any: [a rabbit], action: review}
  - {name: late, any: [a rabbit], action: label, threshold: 0.9}
"""


def test_contradictions_are_found_without_a_model(run: Run, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(CONTRADICTIONS)
    result = run("policy", "check", "odd.yaml", "--offline", "--json")
    assert result.exit_code == 1
    found = [(one["rule"], one["message"], one["is_error"]) for one in json.loads(result.stdout)]
    assert ("cats", "'a cat' is in 'any' and in 'unless'; it is one or the other", True) in found
    assert ("cats", "'a cat' is in 'any' more than once, and so counts more", False) in found
    assert any(rule == "cats" and "'a dog' is neutral, too" in why for rule, why, _ in found)
    assert any(
        rule == "pets" and "it contradicts the rule 'again'" in why for rule, why, _ in found
    )
    assert any(rule == "late" and "it never decides" in why for rule, why, _ in found)


def test_prompts_that_the_model_cannot_tell_apart_or_read_are_found(
    run: Run, tmp_path: Path, client: Client
) -> None:
    words = " ".join(["rabbit"] * 90)
    (tmp_path / "odd.yaml").write_text(
        "name: odd\nneutral: [a dog]\nrules:\n"
        f"  - {{name: cats, any: [a cat, 'A  Cat'], unless: ['{words}'], action: block}}\n"
        "  - {name: dogs, any: ['a dog '], action: review}\n"
    )
    result = run("policy", "check", "odd.yaml", "--json")
    assert result.exit_code == 1
    messages = [one["message"] for one in json.loads(result.stdout)]
    limit = client.info().context_length
    assert any(f"is longer than the {limit} tokens that the model reads" in m for m in messages)
    assert any("'a cat' and 'A  Cat' are nearly the same" in m for m in messages)
    assert any("'a dog ' and 'a dog', against which it stands, are nearly" in m for m in messages)
    a, b = client.embed_texts(["a cat", "a rabbit"])
    assert np.dot(a, b) < 0.98  # others are told apart


def test_mistakes_with_check_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "goal.yaml").write_text(
        "name: a\nrules:\n  - {name: b, any: [a cat], action: block, threshold: {recall: 0.9}}\n"
    )
    result = run("policy", "check", "goal.yaml")
    assert result.exit_code == 1
    assert "rule 'b' wants a recall of 0.9, and no labels have said yet" in result.stdout
    absent = run("policy", "check", "none.yaml")
    assert absent.exit_code == 2
    assert "none.yaml" in absent.stderr
