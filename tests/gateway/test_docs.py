"""The guide's blocks run against a gateway as it says to start one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tritonclip_gateway.serving import HttpServer

BLOCK = re.compile(r"(<!-- not run[^>]*-->\n)?```(bash|python)\n(.*?)```", re.DOTALL)
GUIDE = Path(__file__).parents[2] / "docs" / "gateway.md"
BLOCKS = [
    (language, code) for skipped, language, code in BLOCK.findall(GUIDE.read_text()) if not skipped
]


@pytest.mark.parametrize(("language", "code"), BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_of_the_guide_runs(
    language: str, code: str, gateway: HttpServer, pictures: Path
) -> None:
    command = (
        ["bash", "-e", "-o", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
    )
    code = code.replace("http://127.0.0.1:8080", gateway.url).replace(
        "curl -s ", "curl -sS --fail "
    )

    done = subprocess.run(
        [*command, code], cwd=pictures.parent, env=os.environ, capture_output=True, text=True
    )

    assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
    assert done.stdout.strip()
