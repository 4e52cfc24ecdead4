"""Logs of decisions, what happened to them since, and what another policy would change."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from typer.testing import Result

from tritonclip import Client
from tritonclip.errors import InvalidArgument
from tritonclip_search import AuditError
from tritonclip_search.policy import PreparedPolicy, load, prepare
from tritonclip_search.policy.audit import FIRST, AuditLog, entries, set_aside, verify
from tritonclip_search.policy.moderation import Moderated, moderate
from tritonclip_search.policy.picture import Picture

Run = Callable[..., Result]
LOGGED = ("moderate", "--policy", "shop.yaml", "pictures", "--audit", "audit.jsonl")


@pytest.fixture
def policy(shop: Path, client: Client) -> PreparedPolicy:
    return prepare(load(shop), client)


def some(policy: PreparedPolicy, count: int) -> list[Moderated]:
    vectors = np.random.default_rng(0).normal(size=(count, policy.info.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return list(
        moderate(policy, (Picture(f"/é {i}.png", f"{i}", v) for i, v in enumerate(vectors)))
    )


def test_each_decision_is_a_line_that_can_be_shown_again(
    run: Run, shop: Path, client: Client
) -> None:
    assert run(*LOGGED).exit_code == 4
    lines = [json.loads(line) for line in Path("audit.jsonl").read_text().splitlines()]
    assert len(lines) == 25
    dagger = next(line for line in lines if line["path"].endswith("/dagger.png"))
    assert (dagger["decision"], dagger["rule"], dagger["prompt"]) == ("block", "weapon", "a dagger")
    assert dagger["policy"] == load(shop).sha256
    assert dagger["model"]["weights_sha256"] == client.info().weights_sha256
    assert lines[0]["previous"] == FIRST
    assert [line["previous"] for line in lines[1:]] == [line["hash"] for line in lines[:-1]]
    checked = run("policy", "audit", "audit.jsonl", "--policy", "shop.yaml", "--sample", "5")
    assert checked.exit_code == 0
    assert "25 lines, 0 wrong, 5 decided again alike" in checked.stdout
    assert f"last hash {lines[-1]['hash']}" in checked.stdout


@pytest.mark.parametrize(
    ("change", "line", "why"),
    [
        (lambda lines: lines.__setitem__(3, lines[3].replace("/é", "/e")), 4, "was changed"),
        (lambda lines: lines.pop(3), 4, "the line before it is missing"),
        (lambda lines: lines.insert(3, lines[2]), 4, "the line before it is missing"),
        (lambda lines: lines.__setitem__(-1, lines[-1][:-9]), 25, "not a line of an audit log"),
        (lambda lines: lines.__setitem__(0, '{"hash": 1}\n'), 1, "not a line of an audit log"),
    ],
    ids=["changed", "removed", "put in", "cut", "replaced"],
)
def test_a_line_that_is_not_as_it_was_is_found(
    change: Callable[[list[str]], object],
    line: int,
    why: str,
    policy: PreparedPolicy,
    tmp_path: Path,
) -> None:
    log = tmp_path / "audit.jsonl"
    AuditLog(log).append(policy, some(policy, 25))
    assert verify(log).problems == []
    lines = log.read_text().splitlines(keepends=True)
    change(lines)
    log.write_text("".join(lines))
    problems = verify(log).problems
    assert problems[0].startswith(f"{log}:{line}: ")
    assert why in problems[0]


def test_an_end_that_was_cut_off_is_found_by_a_hash_that_was_noted(
    run: Run, shop: Path, tmp_path: Path
) -> None:
    del shop
    run(*LOGGED)
    noted = verify(tmp_path / "audit.jsonl").last
    kept = Path("audit.jsonl").read_text().splitlines(keepends=True)[:-2]
    Path("audit.jsonl").write_text("".join(kept))
    assert run("policy", "audit", "audit.jsonl").exit_code == 0
    cut = run("policy", "audit", "audit.jsonl", "--known", noted)
    assert cut.exit_code == 1
    assert "its end was cut off, or it is another log" in cut.stdout


def test_a_crash_in_a_line_costs_that_line_alone(policy: PreparedPolicy, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    AuditLog(log).append(policy, some(policy, 3))
    with log.open("ab") as opened:
        opened.write(b'{"hash": "12')
    AuditLog(log).append(policy, some(policy, 2))
    found = verify(log)
    assert (found.lines, found.problems) == (5, [])


def test_full_files_are_set_aside_and_the_chain_goes_on(
    policy: PreparedPolicy, tmp_path: Path
) -> None:
    log = tmp_path / "audit.jsonl"
    for _ in range(4):
        AuditLog(log, full=5000).append(policy, some(policy, 6))
    assert [path.suffix for path in set_aside(log)] == [".000001", ".000002", ".000003", ".000004"]
    AuditLog(log).append(policy, some(policy, 1))
    found = verify(log)
    assert (found.lines, found.problems) == (25, [])
    set_aside(log)[1].unlink()
    assert "the line before it is missing" in verify(log).problems[0]


def _append(log: Path, policy: PreparedPolicy, times: int) -> None:
    for _ in range(times):
        AuditLog(log, full=200_000).append(policy, some(policy, 3))


def test_several_writers_make_one_chain(policy: PreparedPolicy, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    writers = [Thread(target=_append, args=(log, policy, 10)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = verify(log)
    assert (found.lines, found.problems) == (120, [])


def test_a_decision_that_does_not_come_out_again_is_named(run: Run, shop: Path) -> None:
    del shop
    run(*LOGGED)
    kept = Path("audit.jsonl").read_text().splitlines(keepends=True)
    Path("pictures/cat.png").write_bytes(Path("pictures/dog.png").read_bytes())
    Path("pictures/key.png").unlink()
    checked = run(
        "policy", "audit", "audit.jsonl", "--policy", "shop.yaml", "--sample", "25", "--json"
    )
    found = json.loads(checked.stdout)
    assert found["recomputed"] == 23
    assert any("cat.png is another picture now" in why for why in found["skipped"])
    assert any("key.png" in why for why in found["skipped"])
    # Forged with its hashes, a decision is found by deciding again.
    forged = [line.replace('"decision": "block"', '"decision": "allow"') for line in kept]
    Path("audit.jsonl").write_text("".join(forged))
    checked = run("policy", "audit", "audit.jsonl", "--policy", "shop.yaml", "--sample", "25")
    assert checked.exit_code == 1
    assert re.search(
        r"it says allow for .*dagger\.png, and deciding again gives block", checked.stdout
    )


def test_a_replay_says_what_a_new_policy_changes(run: Run, shop: Path) -> None:
    run("index", "pictures")
    run(*LOGGED)
    new = shop.read_text().replace("action: review", "action: label").replace("[a lemon, ", "[")
    Path("new.yaml").write_text(new)
    result = run("policy", "replay", "new.yaml", "--old", "shop.yaml", "--json")
    found = json.loads(result.stdout)
    changed = {Path(one["path"]).stem: (one["before"], one["after"]) for one in found["changes"]}
    assert changed["angry face"] == ("review", "label")
    assert changed["lemon"] == ("label", "allow")
    assert "dagger" not in changed
    assert sum(count["pictures"] for count in found["counts"]) == 25
    told = run("policy", "replay", "new.yaml", "--old", "shop.yaml").stdout
    assert f"{25 - len(changed)} stay as they are, {len(changed)} change" in told
    by_log = run("policy", "replay", "new.yaml", "--audit", "audit.jsonl", "--json")
    assert json.loads(by_log.stdout)["changes"] == found["changes"]


def test_mistakes_with_logs_are_named(run: Run, shop: Path) -> None:
    del shop
    with pytest.raises(AuditError, match=r"there is no audit log none\.jsonl"):
        run("policy", "audit", "none.jsonl")
    with pytest.raises(InvalidArgument, match="either with --old or with --audit"):
        run("policy", "replay", "shop.yaml")
    Path("diary.txt").write_text("Dear diary\n")
    with pytest.raises(AuditError, match=r"the last line of diary\.txt is not of an audit log"):
        run(*LOGGED[:-1], "diary.txt")
    assert Path("diary.txt").read_text() == "Dear diary\n"
    assert run(*LOGGED[:-1], "absent/audit.jsonl").exit_code == 2
    assert list(entries(Path("diary.txt"))) == [("diary.txt:1", b"Dear diary\n")]


def test_a_log_that_cannot_be_written_is_named(policy: PreparedPolicy, tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=r"cannot be written \(No such file.*counts as recorded"):
        AuditLog(tmp_path / "absent" / "audit.jsonl").append(policy, some(policy, 1))
