"""Policies as people write them, and the mistakes in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tritonclip_search import InvalidPolicy
from tritonclip_search.policy import Action, load
from tritonclip_search.policy.file import document, text_of
from tritonclip_search.policy.prompts import filled
from tritonclip_search.policy.rules import NEUTRAL


def test_a_policy_says_what_its_file_says(shop: Path) -> None:
    policy = load(shop)
    weapon, face, food = policy.rules
    assert policy.name == "emoji-shop"
    assert weapon.any == ("a dagger", "crossed swords", "a black bomb")
    assert weapon.unless == ("a water pistol", "a kitchen knife", "a hammer")
    assert (weapon.action, face.action, food.action) == (Action.BLOCK, Action.REVIEW, Action.LABEL)
    assert (weapon.threshold.at, face.threshold.at) == (0.99, 0.5)
    assert weapon.neutral == food.neutral != NEUTRAL
    assert weapon.templates == ("{}",)


def test_templates_are_the_rules_own_or_the_policys(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "name: a\ntemplates: photo\nrules:\n"
        "  - {name: b, any: [a cat], action: label}\n"
        "  - {name: c, any: [a dog], action: label, templates: ['an icon of {}', '{}']}\n"
    )
    first, second = load(file).rules
    assert first.templates == ("a photo of a {}.",)
    assert second.templates == ("an icon of {}", "{}")
    assert first.neutral == NEUTRAL


@pytest.mark.parametrize(
    ("prompt", "template", "text"),
    [
        ("a gun", "a photo of a {}.", "a photo of a gun."),
        ("The gun", "the origami {}.", "the origami gun."),
        ("a gun", "an icon of {}", "an icon of a gun"),
        ("a gun", "{}", "a gun"),
        ("another gun", "a photo of a {}.", "a photo of a another gun."),
    ],
)
def test_of_two_articles_one_goes(prompt: str, template: str, text: str) -> None:
    assert filled(prompt, template) == text


RULE = "name: a\nrules:\n  - name: b\n    any: [a cat]\n    action: block\n"


@pytest.mark.parametrize(
    ("text", "why"),
    {
        RULE + "    treshold: 0.5\n": "a.yaml:6: rule 'b': there is no field 'treshold'; did you "
        "mean 'threshold'?",
        RULE.replace(
            "block", "blok"
        ): "a.yaml:5: rule 'b': the action 'blok' does not exist; block",
        RULE + "    threshold: 1.5\n": "a.yaml:6: rule 'b': 'threshold' is 1.5; it lies between 0 "
        "and 1",
        RULE + "    threshold: {precison: 0.9}\n": "threshold: there is no field 'precison'; did "
        "you mean 'precision'?",
        RULE + "    threshold: {precision: 0.9, recall: 0.9}\n": "give either a precision or a",
        RULE + "    threshold: [0.5]\n": "'threshold' is [0.5], not a number",
        RULE + "    head: none.safetensors\n": "a rule has either prompts in 'any' or a 'head'",
        RULE.replace("any: [a cat]", "head: no.safetensors"): "no.safetensors does not exist",
        RULE.replace("[a cat]", "[a cat, 3]"): "has to be a list of texts, and has 3; quote it?",
        RULE.replace("[a cat]", "a cat"): "'any' has to be a list of texts, and has 'a cat'",
        RULE + "    templates: foto\n": "unknown templates 'foto'",
        RULE + "    label: x\n": "a.yaml:6: rule 'b': 'label' goes with a head",
        RULE + RULE.partition("rules:\n")[2]: "a.yaml:6: a second rule is called 'b'",
        "name: a\nrules: []\n": "'rules' has to be a list of rules",
        "rules:\n- any\n": "rule 1 is 'any', not fields",
        "name: [\n": "a.yaml:",
        "just a text": "holds no fields; a policy has a name and rules",
    }.items(),
)
def test_a_mistake_is_named_with_its_line_and_the_nearest_right_word(
    text: str, why: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(InvalidPolicy) as raised:
        load(file)
    assert why in str(raised.value)


def test_a_policy_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicy, match=r"none\.yaml cannot be read: No such file"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize("indent", ["", "  "])
def test_a_policy_is_written_back_as_it_was(indent: str, shop: Path) -> None:
    text = f"""\
# What we take.
name: a

rules:
{indent}- name: b  # of cats
{indent}  any: ["a cat", 'a tiger']
{indent}  action: block
{indent}  # until we know better
{indent}  threshold: {{precision: 0.9}}
"""
    assert text_of(document(text.encode(), shop), text) == text
