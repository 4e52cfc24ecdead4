"""What follows for a picture, from vectors whose answers can be worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tritonclip import Client
from tritonclip.errors import InvalidArgument
from tritonclip.info import ModelInfo
from tritonclip.types import FloatArray
from tritonclip_search import InvalidPolicy
from tritonclip_search.policy import Action, decide, load, prepare, prepared, texts
from tritonclip_search.policy.prepared import PreparedPolicy

POLICY = """\
name: axes
neutral: [north]
rules:
  - {name: east, any: [east, south], unless: [west], action: block, threshold: 0.7}
  - {name: up, any: [up], action: label, threshold: 0.6}
"""
AXES = {"east": 0, "south": 1, "west": 2, "north": 3, "up": 4}


@pytest.fixture
def info(client: Client) -> ModelInfo:
    return replace(client.info(), dim=5, logit_scale=4.0, logit_bias=-1.0)


def policy_of(info: ModelInfo, folder: Path, text: str = POLICY) -> PreparedPolicy:
    """Each prompt is a unit vector along its own axis."""
    file = folder / "axes.yaml"
    file.write_text(text)
    policy = load(file)
    return prepared(policy, info, np.eye(5, dtype=np.float32)[[AXES[t] for t in texts(policy)]])


def picture(**parts: float) -> FloatArray:
    vector = np.zeros(5, np.float32)
    for name, value in parts.items():
        vector[AXES[name]] = value
    return vector / np.linalg.norm(vector)


def test_with_softmax_a_rule_is_a_choice_among_its_prompts_and_all_others(
    info: ModelInfo, tmp_path: Path
) -> None:
    policy = policy_of(replace(info, similarity="softmax"), tmp_path)
    (decision,) = decide(policy, picture(east=0.8, west=0.6)[None])
    own = math.exp(4 * 0.8) + math.exp(0)
    others = math.exp(4 * 0.6) + math.exp(0)
    east, up = decision.evidence
    assert east.probability == pytest.approx(own / (own + others))
    assert up.probability == pytest.approx(0.5)
    assert east.margin == pytest.approx(math.log(own / others) - math.log(0.7 / 0.3))
    assert (east.prompt, east.score) == ("east", pytest.approx(0.8))
    assert (decision.action, decision.rule, decision.labels) == (Action.ALLOW, None, ())


def test_with_sigmoid_none_of_them_is_one_more_choice(info: ModelInfo, tmp_path: Path) -> None:
    policy = policy_of(replace(info, similarity="sigmoid"), tmp_path)
    (decision,) = decide(policy, picture(up=1.0)[None])
    none_and_north = 1 + math.exp(-1)
    up = decision.evidence[1]
    assert up.probability == pytest.approx(math.exp(3) / (math.exp(3) + none_and_north))
    alone = POLICY.replace("[north]", "[up]")
    (decision,) = decide(
        policy_of(replace(info, similarity="sigmoid"), tmp_path, alone), picture(up=1.0)
    )
    assert decision.evidence[1].probability == pytest.approx(1 / (1 + math.exp(-3)))


def test_the_most_severe_rule_decides_and_labels_stay(info: ModelInfo, tmp_path: Path) -> None:
    policy = policy_of(info, tmp_path)
    vectors = [picture(east=0.7, up=0.7), picture(north=1), picture(west=1), picture(up=1)]
    decisions = decide(policy, np.stack(vectors))
    assert [d.action.value for d in decisions] == ["block", "allow", "allow", "label"]
    assert decisions[0].rule == "east"
    assert decisions[0].labels == ("up",)
    assert decisions[1].rule is None
    assert decisions[1].nearest.margin < 0
    assert decisions[-1] == list(decisions)[3]
    assert len(decisions) == 4
    with pytest.raises(IndexError):
        decisions[4]


def test_odds_that_no_probability_can_hold_still_have_margins(
    info: ModelInfo, tmp_path: Path
) -> None:
    policy = policy_of(replace(info, logit_scale=300.0), tmp_path)
    certain, far = decide(policy, np.stack([picture(east=1), picture(east=0.999, west=0.04)]))
    assert certain.probability == 1
    assert 280 < far.margin < certain.margin < 310


def test_many_rows_and_few_give_the_same(shop: Path, client: Client, pictures: Path) -> None:
    policy = prepare(load(shop), client)
    vectors = client.embed_images(sorted(pictures.iterdir()))
    together = list(decide(policy, vectors))
    for vector, one in zip(vectors, together, strict=True):
        (alone,) = decide(policy, vector)
        assert (alone.action, alone.rule, alone.prompt) == (one.action, one.rule, one.prompt)
        assert alone.margin == pytest.approx(one.margin, abs=1e-4)
    assert len(decide(policy, np.empty((0, client.info().dim), np.float32))) == 0


def test_templates_are_averaged_as_labels_are(tmp_path: Path, client: Client) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "name: a\nneutral: [a dog]\nrules:\n"
        "  - {name: b, any: [a cat], templates: ['an icon of {}', '{}'], action: label}\n"
    )
    policy = prepare(load(file), client)
    expected = client.label_embeddings(["a cat"], ["an icon of {}", "{}"])
    np.testing.assert_allclose(policy.vectors[policy.wanted[0]], expected, atol=1e-6)


def test_a_goal_without_labels_is_refused(shop: Path, client: Client) -> None:
    shop.write_text(shop.read_text().replace("threshold: 0.99", "threshold: {precision: 0.98}"))
    with pytest.raises(InvalidPolicy, match=r"no labels have said yet.*policy calibrate"):
        prepare(load(shop), client)
    policy = prepare(load(shop), client, uncalibrated=True)
    (decision,) = decide(policy, client.embed_texts("a dagger"))
    assert decision.rule is None


def test_what_could_not_be_embedded_is_never_allowed(info: ModelInfo, tmp_path: Path) -> None:
    policy = policy_of(info, tmp_path)
    vectors = np.stack([picture(north=1), np.full(5, np.nan, np.float32)])
    with pytest.raises(InvalidArgument, match="the vector of picture 1 is not finite"):
        decide(policy, vectors)
    with pytest.raises(InvalidArgument, match=r"vectors of 4 numbers, and the policy .* for 5"):
        decide(policy, vectors[:, :4])
