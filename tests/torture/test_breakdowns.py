"""A server that is broken again and again under load; `make torture` does it for longer."""

import os
import random
from collections.abc import Callable
from pathlib import Path

from benchmarks.studies.breakdowns import breakdowns
from tritonclip_export.repository.assemble import assemble


def test_every_request_is_answered_as_before_and_nothing_is_left(
    bundle: Callable[[str], object], tmp_path: Path
) -> None:
    seed = int(os.environ.get("TORTURE_SEED", random.randrange(10**6)))
    print(f"TORTURE_SEED={seed}")
    assemble([bundle("demo")], tmp_path / "repository", runtime="python")

    seconds = float(os.environ.get("TORTURE_SECONDS", 10))
    run = breakdowns(tmp_path / "repository", seconds, seed)

    assert run["requests"].keys() == {"right"}
    assert run["longest_s"] < 60
    assert run["left"] == []
