"""The code blocks of the README and the guides run, in the order a reader would run them.

A block after a comment `<!-- not run in the tests: REASON -->` is left out, as are the README's
installation lines.
"""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server

BLOCK = re.compile(r"(<!-- not run[^>]*-->\n)?```(\w*)\n(.*?)```", re.DOTALL)
GUIDES = (
    *("search", "contract", "long-texts", "verification", "deploying"),
    *("precision", "engines", "benchmarking", "preprocessing", "moderation"),
)
NAMED = ("cat.png", "rocket.png")  # in the documents
INSTALLATION = ("git clone", "pip install")


@dataclass(frozen=True)
class Block:
    document: str
    language: str
    code: str


def blocks(root: Path, guides: Sequence[str]) -> list[Block]:
    return [
        Block(document, language, code)
        for document in ("README.md", *(f"docs/{guide}.md" for guide in guides))
        for skipped, language, code in BLOCK.findall((root / document).read_text())
        if not skipped and language in ("bash", "python") and not code.startswith(INSTALLATION)
    ]


@pytest.fixture
def folder(root: Path, tmp_path: Path) -> Path:
    """A reader's folder, with the checkout's demo and a few of its drawings."""
    folder = tmp_path / "reader"
    folder.mkdir()
    shutil.copytree(root / "demo", folder / "demo", ignore=shutil.ignore_patterns("*.zip"))
    with (
        zipfile.ZipFile(root / "demo" / "twemoji.zip") as drawings,
        zipfile.ZipFile(folder / "demo" / "twemoji.zip", "w") as few,
    ):
        names = drawings.namelist()
        for name in {*names[::50], *NAMED, "labels.json"}:
            few.writestr(name, drawings.read(name))
    return folder


@pytest.mark.parametrize(
    "guides", [(), pytest.param(GUIDES, marks=pytest.mark.slow)], ids=["readme", "all"]
)
def test_every_block_runs(guides: Sequence[str], root: Path, folder: Path) -> None:
    found = blocks(root, guides)
    assert {block.document for block in found} == {
        "README.md",
        *(f"docs/{guide}.md" for guide in guides),
    }
    server: Server | None = None
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    try:
        for block in found:
            code = block.code
            if server is None and "\ntritonclip serve\n" in code:
                # The reader starts it in another terminal; here it runs beside the test.
                code = code.replace("tritonclip serve\n", "")
                _run(Block(block.document, "bash", code), folder, environment)
                server = Server(folder / "repository", ports=Ports(0, 0, 0))
                server.start()
                environment["TRITONCLIP_URL"] = server.grpc_url
                continue
            if server is not None:
                code = code.replace("127.0.0.1:8001", server.grpc_url)
            _run(Block(block.document, block.language, code), folder, environment)
    finally:
        if server is not None:
            server.stop()
    assert (folder / "pictures.parquet").is_file()


def _run(block: Block, folder: Path, environment: dict[str, str]) -> None:
    command = ["bash", "-e", "-c"] if block.language == "bash" else [sys.executable, "-c"]
    done = subprocess.run(
        [*command, block.code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{block.document}:\n{block.code}\n{done.stdout}{done.stderr}"
