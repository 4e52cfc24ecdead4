"""Policies on the demo's drawings: what rules, contrasts and heads are worth, and what they cost.

    npm install emojibase-data@17
    python -m benchmarks.studies.moderation bundles/demo --node-modules node_modules

Unicode puts every emoji into a group, which says whether it is a flag, a face or food; weapons are
few and named here. One half of the drawings, drawn by chance, is for labels (thresholds, heads),
and figures are of the other half.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import record
from benchmarks.servers import served
from tritonclip import Client
from tritonclip.types import FloatArray
from tritonclip_export.bundle import Bundle
from tritonclip_search.policy import PreparedPolicy, decide, load, prepare
from tritonclip_search.policy.attacks import attack
from tritonclip_search.policy.calibration import Calibrated, Refused, calibrate
from tritonclip_search.policy.intervals import wilson
from tritonclip_search.policy.labels import Labels
from tritonclip_search.policy.moderation import moderate
from tritonclip_search.policy.pictures import from_files

POLICY = Path(__file__).with_name("moderation.yaml")
WEAPONS = ("axe", "bomb", "bow and arrow", "crossed swords", "dagger")
EXAMPLES = (5, 20, 100)
DRAWS = 10
ATTACKED = 200
ROUNDS = 9
_OTHERS = 5  # that are labelled on the way, for each example

Truths = NDArray[np.bool_]
Floats = NDArray[np.float64]


def main() -> None:
    """Measure the demo bundle and write the result."""
    if os.environ.get("OMP_NUM_THREADS") != "1":  # read by OpenBLAS when numpy is imported
        os.environ["OMP_NUM_THREADS"] = "1"
        os.execv(
            sys.executable, [sys.executable, "-m", "benchmarks.studies.moderation", *sys.argv[1:]]
        )
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--node-modules", type=Path, required=True)
    arguments = parser.parse_args()
    with zipfile.ZipFile(record.ROOT / "demo" / "twemoji.zip") as archive:
        labels: dict[str, str] = json.loads(archive.read("labels.json"))
        drawings = [archive.read(f"{slug}.png") for slug in labels]
    truths = _truths(list(labels.values()), arguments.node_modules)
    bundle = Bundle.load(arguments.bundle)
    with served(bundle) as server, Client(server.grpc_url) as client:
        vectors = client.embed_images(drawings)
        policy = prepare(load(POLICY), client, uncalibrated=True)
        figures: dict[str, Any] = {
            "pictures": len(drawings),
            "rules": _rules(policy, client, vectors, truths),
            "calibration": _calibration(policy, vectors, truths),
            "attack": _attack(policy, client, drawings),
            "speed": _speed(policy, client, drawings),
        }
    print(record.save("moderation", figures))


def _truths(names: Sequence[str], node_modules: Path) -> dict[str, Truths]:
    """By rule, whether each drawing is what it is about."""
    data = node_modules / "emojibase-data"
    emoji = json.loads((data / "en" / "data.json").read_text(encoding="utf-8"))
    groups = json.loads((data / "meta" / "groups.json").read_text(encoding="utf-8"))["subgroups"]
    group = {one["label"]: groups.get(str(one.get("subgroup")), "") for one in emoji}
    found = [group.get(name, "") for name in names]
    return {
        "flag": np.array(["flag" in one for one in found]),
        "face": np.array([one.startswith("face-") for one in found]),
        "food": np.array([one.startswith("food-") for one in found]),
        "weapon": np.array([name in WEAPONS for name in names]),
    }


def _halves(said: Truths) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the pictures for labels and of those for figures, equally many of each kind."""
    random = np.random.default_rng(0)
    first = np.zeros(len(said), bool)
    for kind in (True, False):
        places = random.permutation(np.flatnonzero(said == kind))
        first[places[: len(places) // 2]] = True
    return np.flatnonzero(first), np.flatnonzero(~first)


def _rules(
    policy: PreparedPolicy, client: Client, vectors: FloatArray, truths: dict[str, Truths]
) -> list[dict[str, Any]]:
    odds = decide(policy, vectors).log_odds
    rows = []
    for column, rule in enumerate(policy.policy.rules):
        said = truths[rule.name]
        bare = (vectors @ client.label_embeddings([f"a {rule.name}"], "plain").T)[:, 0]
        ways: dict[str, Any] = {
            f'the cosine of "a {rule.name}"': _figures([bare], said),
            "a contrast of prompts": _figures([odds[:, column]], said),
        }
        for count in EXAMPLES:
            scores = _heads(vectors, said, count)
            if scores:
                ways[f"a head of {count} examples"] = _figures(scores, said)
        rows.append({"rule": rule.name, "positives": int(said.sum()), "ways": ways})
        for way, found in ways.items():
            print(f"{rule.name:8} {way:28} {found['average_precision']:.3f}", found["precision"])
    return rows


def _heads(vectors: FloatArray, said: Truths, count: int) -> list[Floats]:
    """Log-odds of all pictures by heads of `count` examples and five times as many others."""
    from sklearn.linear_model import LogisticRegression

    labelled, _ = _halves(said)
    positives, negatives = labelled[said[labelled]], labelled[~said[labelled]]
    if len(positives) < count:
        return []
    scores = []
    for draw in range(DRAWS):
        random = np.random.default_rng(draw)
        rows = np.append(
            random.choice(positives, count, replace=False),
            random.choice(negatives, _OTHERS * count, replace=False),
        )
        model = LogisticRegression(C=100.0, class_weight="balanced", max_iter=2000)
        fitted = model.fit(vectors[rows].astype(np.float64), said[rows])
        scores.append(np.asarray(fitted.decision_function(vectors)))
    return scores


def _figures(scores: Sequence[Floats | FloatArray], said: Truths) -> dict[str, Any]:
    """Average precision; precision and recall where F1 is best on the labelled half."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    labelled, others = _halves(said)
    means, hits, caught, positives = [], 0, 0, 0
    for score in scores:
        precision, recall, at = precision_recall_curve(said[labelled], score[labelled])
        best = (2 * precision * recall / np.maximum(precision + recall, 1e-9))[:-1].argmax()
        applies = score[others] >= at[best]
        means.append(average_precision_score(said[others], score[others]))
        hits += int((applies & said[others]).sum())
        caught += int(applies.sum())
        positives += int(said[others].sum())
    draws = len(scores)  # intervals are of one draw's number of pictures
    return {
        "average_precision": float(np.mean(means)),
        "deviation": float(np.std(means)),
        "precision": wilson(hits / draws, caught / draws),
        "recall": wilson(hits / draws, positives / draws),
    }


def _calibration(
    policy: PreparedPolicy, vectors: FloatArray, truths: dict[str, Truths]
) -> list[dict[str, Any]]:
    """What each rule was promised on one half, and what it keeps on the other."""
    rows = []
    for column, rule in enumerate(policy.policy.rules):
        said = truths[rule.name]
        labelled, others = _halves(said)
        alone = _only(policy, column)
        labels = Labels(
            POLICY,
            "",
            ("",) * len(labelled),
            ("",) * len(labelled),
            {rule.name: said[labelled].astype(float)},
        )
        (found,) = calibrate(alone, labels, vectors[labelled])
        if isinstance(found, Refused):
            rows.append({"rule": rule.name, "refused": str(found.why)})
        else:
            rows.append(_kept(found, decide(alone, vectors[others]).log_odds[:, 0], said[others]))
        print(rows[-1])
    return rows


def _only(policy: PreparedPolicy, column: int) -> PreparedPolicy:
    rule = slice(column, column + 1)
    return replace(
        policy,
        policy=replace(policy.policy, rules=policy.policy.rules[rule]),
        wanted=policy.wanted[rule],
        others=policy.others[rule],
        heads=policy.heads[rule],
        scale=policy.scale[rule],
        offset=policy.offset[rule],
        at=policy.at[rule],
    )


def _kept(found: Calibrated, odds: Floats, said: Truths) -> dict[str, Any]:
    calibration, threshold = found.threshold.calibration, found.threshold
    assert calibration is not None
    assert threshold.at is not None
    at = np.log(threshold.at / (1 - threshold.at))
    caught = calibration.scale * odds + calibration.offset >= at
    hits = int((caught & said).sum())
    return {
        "rule": found.rule,
        "goal": threshold.goal,
        "promised": calibration.precision,
        "kept": wilson(hits, int(caught.sum())),
        "recall": wilson(hits, int(said.sum())),
        "error_before": found.error_before,
        "error_after": found.error_after,
    }


def _attack(policy: PreparedPolicy, client: Client, drawings: Sequence[bytes]) -> dict[str, Any]:
    """The policy with thresholds of 0.5, on some of the drawings."""
    rules = tuple(
        replace(rule, threshold=replace(rule.threshold, at=0.5, goal=None))
        for rule in policy.policy.rules
    )
    some = drawings[:: len(drawings) // ATTACKED][:ATTACKED]
    return asdict(attack(replace(policy.policy, rules=rules), client, some, lambda _: None))


def _speed(policy: PreparedPolicy, client: Client, drawings: Sequence[bytes]) -> dict[str, Any]:
    """Decisions a second: from vectors on one core, and from pictures beside embedding them."""
    ten = _ten(policy)
    vectors: dict[str, dict[str, float]] = {}
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    for dim in (192, 512, 768):
        random = np.random.default_rng(0)

        def unit(rows: int, dim: int = dim, random: Any = random) -> FloatArray:
            values = random.normal(size=(rows, dim)).astype(np.float32)
            return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))

        sized = replace(ten, vectors=unit(len(ten.vectors)), info=replace(ten.info, dim=dim))
        pictures = unit(100_000)
        vectors[str(dim)] = {
            "as_arrays": len(pictures) / _best(lambda s=sized, p=pictures: decide(s, p)),  # type: ignore[misc]
            "with_evidence": 20_000
            / _best(lambda s=sized, p=pictures: list(decide(s, p[:20_000]))),  # type: ignore[misc]
        }
        print(dim, vectors[str(dim)])
    os.sched_setaffinity(0, allowed)
    ratios, embedded, decided = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for place, drawing in enumerate(drawings):
            files.append(str(Path(folder, f"{place:04}.png")))
            Path(files[-1]).write_bytes(drawing)
        ready = replace(ten, at=np.zeros_like(ten.at))
        for _ in range(ROUNDS):
            began = time.perf_counter()
            assert sum(1 for _ in client.stream_images(files)) == len(files)
            between = time.perf_counter()
            coming = from_files([folder], client, print)
            assert sum(1 for _ in moderate(ready, coming)) == len(files)
            ended = time.perf_counter()
            embedded.append(len(files) / (between - began))
            decided.append(len(files) / (ended - between))
            ratios.append(decided[-1] / embedded[-1])
    print(ratios)
    return {
        "rules": len(ten.heads),
        "prompts": len(ten.vectors),
        "vectors": vectors,
        "embed_per_second": float(np.median(embedded)),
        "moderate_per_second": float(np.median(decided)),
        "ratio": float(np.median(ratios)),
        "ratios": ratios,
    }


def _ten(policy: PreparedPolicy) -> PreparedPolicy:
    """Ten rules: each of the policy's two to three times, with prompts of their own as often."""
    rules = policy.policy.rules
    places = [number % len(rules) for number in range(10)]
    vectors, wanted, others = [policy.vectors], [], []
    rows = len(policy.vectors)
    for number, place in enumerate(places):
        own, against = policy.wanted[place], policy.others[place]
        if number >= len(rules):
            unless = len(rules[place].unless)
            vectors.append(policy.vectors[np.append(own, against[:unless])])
            own = np.arange(rows, rows + len(own))
            against = np.append(np.arange(unless) + rows + len(own), against[unless:])
            rows += len(own) + unless
        wanted.append(own)
        others.append(against)
    return replace(
        policy,
        policy=replace(policy.policy, rules=tuple(rules[place] for place in places)),
        vectors=np.concatenate(vectors),
        wanted=tuple(wanted),
        others=tuple(others),
        heads=(None,) * 10,
        scale=np.ones(10),
        offset=np.zeros(10),
        at=np.zeros(10),
    )


def _best(call: Callable[[], object]) -> float:
    """Seconds of the core that the quickest of nine calls took, whoever else was running."""
    seconds = []
    for _ in range(9):
        began = time.process_time()
        call()
        seconds.append(time.process_time() - began)
    return min(seconds)


if __name__ == "__main__":
    main()
