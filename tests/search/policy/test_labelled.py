"""`policy calibrate` and `policy evaluate`, with labelled drawings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from tritonclip import Client
from tritonclip_search import InvalidLabels, InvalidPolicy
from tritonclip_search.policy import decide, load, prepare
from tritonclip_search.policy.labels import read

Run = Callable[..., Result]

FLAGS = """\
# Flags are fine, and marked.
name: flags
neutral: [a face, an animal, food, a building, a sign, a square, a person, a symbol, a button]
rules:
  - name: flag   # of countries
    any: [flag of France, flag of Japan, flag of Brazil, flag of India, flag of Kenya,
          flag of Fiji, flag of Sweden, flag of China, flag of Cuba]
    action: label
    threshold: {precision: 0.8}  # as agreed in May
  - {name: cat, any: [a cat], action: review}
"""


@pytest.fixture
def flags(tmp_path: Path, twemoji: dict[str, bytes]) -> Path:
    """A policy, and labelled drawings: in `labels.csv` half of them, the others in `new.csv`."""
    file = tmp_path / "flags.yaml"
    file.write_text(FLAGS)
    names = sorted(twemoji)
    chosen = [*[name for name in names if name.startswith("flag: ")][::2], *names[::6]]
    (tmp_path / "drawings").mkdir()
    lines: dict[str, list[str]] = {"labels.csv": [], "new.csv": []}
    for place, name in enumerate(dict.fromkeys(chosen)):
        path = tmp_path / "drawings" / f"{place}.png"
        path.write_bytes(twemoji[name])
        group = "people" if "person" in name or "woman" in name else "things"
        line = f"drawings/{place}.png,{int(name.startswith('flag: '))},{group}"
        lines["labels.csv" if place % 2 else "new.csv"].append(line)
    for labels, listed in lines.items():
        text = "\n".join(["path,flag,group", *listed])
        (tmp_path / labels).write_text(text + "\n")
    return file


def test_a_threshold_is_chosen_written_and_held(run: Run, flags: Path, client: Client) -> None:
    with pytest.raises(InvalidPolicy, match="no labels have said yet"):
        run("moderate", "--policy", "flags.yaml", "pictures")
    result = run("policy", "calibrate", "flags.yaml", "--curves", "curves.svg", "--json")
    assert result.exit_code == 0, result.stderr
    (chosen,) = json.loads(result.stdout)["chosen"]
    assert chosen["calibration"]["precision"][0] >= 0.8
    before, after = chosen["calibration_error"]
    assert after < before
    assert "<svg" in Path("curves.svg").read_text()
    text = flags.read_text()
    assert text.startswith("# Flags are fine, and marked.\n")
    assert "- name: flag   # of countries\n" in text
    assert "# as agreed in May\n" in text
    assert "  - {name: cat, any: [a cat], action: review}\n" in text

    policy = load(flags)
    flag = policy.rules[0]
    assert flag.threshold.goal == ("precision", 0.8)
    assert flag.threshold.calibration is not None
    assert flag.threshold.calibration.labels == read(Path("labels.csv"), ["flag"]).sha256
    labels = read(Path("labels.csv"), ["flag"])
    decisions = decide(prepare(policy, client), client.embed_images(labels.paths))
    caught = decisions.margins[:, 0] >= 0
    said = labels.said["flag"] == 1
    measured = flag.threshold.calibration.precision[1]
    assert (caught & said).sum() / caught.sum() == pytest.approx(measured, abs=1e-4)
    assert run("moderate", "--policy", "flags.yaml", "pictures").exit_code in (0, 3)


def test_what_changed_since_a_calibration_is_calibrated_again(run: Run, flags: Path) -> None:
    run("policy", "calibrate", "flags.yaml")
    flags.write_text(flags.read_text().replace("flag of Cuba", "flag of Peru"))
    with pytest.raises(InvalidPolicy, match="'flag' has changed since its threshold was chosen"):
        run("moderate", "--policy", "flags.yaml", "pictures")
    assert run("policy", "check", "flags.yaml").exit_code == 1
    assert run("policy", "calibrate", "flags.yaml").exit_code == 0
    assert run("policy", "check", "flags.yaml").exit_code == 0
    flags.write_text(flags.read_text().replace("model: ", "model: 0"))
    with pytest.raises(InvalidPolicy, match="was chosen for the model 0"):
        run("moderate", "--policy", "flags.yaml", "pictures")


def test_a_goal_beyond_the_labels_is_refused_and_nothing_written(run: Run, flags: Path) -> None:
    flags.write_text(FLAGS.replace("0.8}", "0.995}"))
    result = run("policy", "calibrate", "flags.yaml")
    assert result.exit_code == 1
    assert "refused: rule 'flag'" in result.stderr
    assert "shows in 765 pictures that are caught and all right" in result.stderr
    assert "more of those, or ask for less" in result.stderr
    assert flags.read_text() == FLAGS.replace("0.8}", "0.995}")


def test_a_policy_is_measured_on_labels_and_on_groups(run: Run, flags: Path) -> None:
    del flags
    run("policy", "calibrate", "flags.yaml")
    same = run("policy", "evaluate", "flags.yaml")
    assert "the thresholds of flag were chosen on these very labels" in same.stderr
    other = run("policy", "evaluate", "flags.yaml", "--labels", "new.csv", "--json")
    assert "these very labels" not in other.stderr
    (flag,) = json.loads(other.stdout)
    low, share, high = flag["precision"]
    assert 0.6 < low < share < high <= 1
    groups: Mapping[str, dict[str, object]] = {group["name"]: group for group in flag["groups"]}
    assert groups.keys() == {"people", "things"}
    negatives = flag["pictures"] - flag["positives"]
    assert sum(int(str(group["pictures"])) for group in groups.values()) == negatives
    assert not groups["people"]["is_worse"]
    table = run("policy", "evaluate", "flags.yaml", "--labels", "new.csv").stdout
    assert "caught without a reason" in table


def test_a_group_that_is_caught_more_often_is_marked(run: Run, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(
        "name: all\nneutral: [a rocket]\n"
        "rules:\n  - {name: pet, any: [a cat, a dog], action: review}\n"
    )
    lines = []
    for number in range(30):
        for group, name in (("cats", "cat"), ("rockets", "rocket")):
            link = tmp_path / f"{group}{number}.png"
            link.write_bytes((tmp_path / "pictures" / f"{name}.png").read_bytes())
            lines.append(f"{link.name},{group},no")
    (tmp_path / "labels.csv").write_text("\n".join(["path,group,pet", *lines]))
    (pet,) = json.loads(run("policy", "evaluate", "all.yaml", "--json").stdout)
    assert [(group["name"], group["is_worse"]) for group in pet["groups"]] == [
        ("cats", True),
        ("rockets", False),
    ]
    assert np.isnan(pet["recall"][1])


def test_vectors_of_a_collection_are_not_made_again(run: Run, flags: Path) -> None:
    del flags
    run("index", "drawings")
    for file in Path("drawings").iterdir():
        file.unlink()
    result = run("policy", "calibrate", "flags.yaml", "--indexed", "--json")
    assert result.exit_code == 0
    with pytest.raises(InvalidLabels, match="none of its 227 pictures is there"):
        run("policy", "calibrate", "flags.yaml")


@pytest.mark.parametrize(
    ("text", "why"),
    {
        "file,flag\na.png,1\n": "has no column 'path'",
        "path,flags\na.png,1\n": "the column 'flags' is of no rule; did you mean 'flag'?",
        "path,group\na.png,x\n": "has no column of a rule; there are flag",
        "path,flag\na.png,maybe\n": "l.csv:2: flag is 'maybe'; write 1, 0, or nothing",
        "path,flag\na.png,1\nb.png,0\n./a.png,0\n": "l.csv:4: ./a.png is there twice, first in "
        "line 2",
        "path,flag\n": "has a header and no lines",
    }.items(),
)
def test_mistakes_in_labels_are_named(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(InvalidLabels) as raised:
        read(tmp_path / "l.csv", ["flag"])
    assert why in str(raised.value)


def test_a_policy_without_goals_has_nothing_to_calibrate(run: Run, flags: Path) -> None:
    flags.write_text(FLAGS.replace("{precision: 0.8}", "0.9"))
    with pytest.raises(InvalidPolicy, match="no rule has a goal"):
        run("policy", "calibrate", "flags.yaml")
    flags.write_text(FLAGS.replace("action: review}", "action: review, threshold: {recall: 0.9}}"))
    with pytest.raises(InvalidLabels, match="has no column 'cat', and that rule wants a recall"):
        run("policy", "calibrate", "flags.yaml")
