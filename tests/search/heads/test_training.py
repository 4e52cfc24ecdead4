"""Heads trained on drawings, applied to others, and in the rule of a policy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner, Result

from tritonclip import Client
from tritonclip_cli import app
from tritonclip_search import InvalidHead, InvalidLabels, TooFewExamples
from tritonclip_search.heads import file
from tritonclip_search.heads.training import read_examples, train
from tritonclip_search.policy import decide, load, prepare

Run = Callable[..., Result]


@pytest.fixture
def run(search_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRITONCLIP_URL", search_server)
    monkeypatch.setenv("COLUMNS", "160")

    def call(*arguments: str) -> Result:
        model = () if "info" in arguments else ("--model", "demo")
        result = CliRunner().invoke(app, [*arguments, *model])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def labels(tmp_path: Path, twemoji: dict[str, bytes]) -> Path:
    """Flags and other drawings, thirty of each."""
    (tmp_path / "drawings").mkdir()
    flags = [name for name in sorted(twemoji) if name.startswith("flag: ")][:30]
    others = [name for name in sorted(twemoji) if not name.startswith("flag")][::50][:30]
    lines = ["path,label"]
    for place, name in enumerate([*flags, *others]):
        (tmp_path / "drawings" / f"{place}.png").write_bytes(twemoji[name])
        lines.append(f"drawings/{place}.png,{'flag' if place < 30 else 'other'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return tmp_path / "labels.csv"


def test_a_head_is_trained_applied_and_followed_by_a_policy(
    run: Run, labels: Path, twemoji: dict[str, bytes], client: Client
) -> None:
    result = run("head", "train", str(labels), "--output", "flag.safetensors", "--json")
    assert result.exit_code == 0, result.stderr
    trained = json.loads(result.stdout)
    assert trained["labels"] == ["flag", "other"]
    assert 0.8 < trained["interval"][0] <= trained["figure"] <= trained["interval"][1] <= 1
    assert [size["examples"] for size in trained["sizes"]] == [5, 10, 20]
    assert trained["sizes"][2]["accuracy"] > trained["sizes"][0]["accuracy"]
    assert trained["overtakes_zero_shot_at"] in (None, 5, 10, 20)
    assert trained["card"]["weights_sha256"] == client.info().weights_sha256

    Path("new").mkdir()
    for name in ("flag: Japan", "flag: Sweden", "cat", "rocket"):
        Path("new", f"{name.replace(': ', ' ')}.png").write_bytes(twemoji[name])
    applied = json.loads(run("head", "apply", "flag.safetensors", "new", "--json").stdout)
    scores = {Path(one["path"]).stem: one["scores"]["flag"] for one in applied}
    assert (
        min(scores["flag Japan"], scores["flag Sweden"])
        > 0.5
        > max(scores["cat"], scores["rocket"])
    )

    Path("flags.yaml").write_text(
        "name: flags\nrules:\n"
        "  - {name: flag, head: flag.safetensors, label: flag, action: review, threshold: 0.5}\n"
    )
    (decision,) = decide(prepare(load("flags.yaml"), client), client.embed_images(["new/cat.png"]))
    assert decision.prompt is None
    assert decision.probability == pytest.approx(scores["cat"], abs=1e-5)
    moderated = run("moderate", "--policy", "flags.yaml", "new")
    assert moderated.exit_code == 3
    assert "4 pictures: 0 block, 2 review" in moderated.stdout


def test_a_head_is_what_scikit_learn_fits(labels: Path, client: Client) -> None:
    examples = read_examples(labels)
    vectors = client.embed_images(examples.paths)
    trained = train(examples, vectors, client.info(), "flag")
    strength = trained.head.card["strength"]
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    expected = model.fit(vectors.astype(np.float64), examples.labels).predict_proba(vectors)
    np.testing.assert_allclose(trained.head.scores(vectors), expected, atol=1e-4)
    again = train(examples, vectors, client.info(), "flag")
    assert file.to_bytes(again.head) == file.to_bytes(trained.head)


def test_a_head_of_many_labels_and_one_of_scores(
    run: Run, tmp_path: Path, twemoji: dict[str, bytes]
) -> None:
    kinds = ("heart", "clock", "face")
    lines, scores = ["path,label"], ["path,score"]
    for place, kind in enumerate(kinds):
        for number, name in enumerate([n for n in sorted(twemoji) if kind in n][:8]):
            picture = tmp_path / f"{kind}{number}.png"
            picture.write_bytes(twemoji[name])
            lines.append(f"{picture.name},{kind}")
            scores.append(f"{picture.name},{place}.5")
    (tmp_path / "kinds.csv").write_text("\n".join(lines))
    (tmp_path / "scores.csv").write_text("\n".join(scores))
    assert "each label counting the same; zero-shot" in run("head", "train", "kinds.csv").stdout
    (best, *_) = json.loads(run("head", "apply", "head.safetensors", "heart1.png", "--json").stdout)
    assert sum(best["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert max(best["scores"], key=best["scores"].get) == "heart"
    told = run("head", "train", "scores.csv", "-o", "rank.safetensors").stdout
    assert float(re.findall(r"R² ([\d.]+)", told)[0]) > 0.5
    (low,) = json.loads(run("head", "apply", "rank.safetensors", "heart1.png", "--json").stdout)
    (high,) = json.loads(run("head", "apply", "rank.safetensors", "face1.png", "--json").stdout)
    assert low["scores"]["rank"] < 1.5 < high["scores"]["rank"]
    described = json.loads(run("head", "info", "rank.safetensors", "--json").stdout)
    assert (described["gives"], described["takes"]) == ("score", "unit vectors of 192")
    assert described["range"] == [0.5, 2.5]


@pytest.mark.parametrize(
    ("text", "error", "why"),
    [
        ("path,kind\na.png,x\n", InvalidLabels, "has the columns path, kind; a head learns from"),
        ("path,label\na.png,\n", InvalidLabels, r"l\.csv:2: the path or the label is missing"),
        ("path,score\na.png,high\n", InvalidLabels, "a score is no number: .*high"),
        ("path,label\nabsent.png,x\n", InvalidLabels, r"none of its pictures is there"),
        ("path,label\ncat.png,x\n", TooFewExamples, "has one label only, 'x'"),
        ("path,label\ncat.png,x\ndog.png,y\n", TooFewExamples, "1 pictures of 'x'; label 4 more"),
    ],
)
def test_mistakes_with_train_are_named(
    text: str, error: type[Exception], why: str, run: Run, pictures: Path
) -> None:
    (pictures / "l.csv").write_text(text)
    with pytest.raises(error, match=why):
        run("head", "train", "pictures/l.csv")


def test_a_head_for_another_model_is_refused(run: Run, labels: Path, client: Client) -> None:
    examples = read_examples(labels)
    trained = train(examples, client.embed_images(examples.paths), client.info(), "flag").head
    card = {**trained.card, "weights_sha256": "0" * 64}
    other = file.Head(trained.name, trained.labels, trained.layers, "softmax", "", card=card)
    Path("other.safetensors").write_bytes(file.to_bytes(other))
    with pytest.raises(InvalidHead, match=r"was trained on vectors of .* \(000000000000\)"):
        run("head", "apply", "other.safetensors", "drawings")
    Path("odd.yaml").write_text(
        "name: a\nrules:\n  - {name: b, head: other.safetensors, action: label}\n"
    )
    checked = run("policy", "check", "odd.yaml")
    assert checked.exit_code == 1
    assert "train it again on those" in checked.stdout
