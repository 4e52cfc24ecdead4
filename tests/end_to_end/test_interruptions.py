"""Commands that are killed, or whose disk is full: what is kept, and how it goes on."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from readiness import until_settled
from tritonclip_cli.journal import path_for
from tritonclip_export.bench.results import Report
from tritonclip_export.bundle import Bundle
from tritonclip_export.samples import sample_images
from tritonclip_export.server.server import Server

TRITONCLIP = Path(sys.executable).with_name("tritonclip")
TEXTS = [f"number {i}" for i in range(3000)]

Embed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def embed(server: Server, tmp_path: Path, environment: dict[str, str]) -> Embed:
    """Runs `embed` on texts, a line each, in `tmp_path`."""

    def embed(*arguments: object, texts: list[str] = TEXTS, **more: object) -> object:
        where = ("--url", server.grpc_url, "--model", "demo")
        done = subprocess.run(
            [TRITONCLIP, "embed", "-", "--text", *map(str, arguments), *where],
            cwd=tmp_path,
            env=environment,
            input="".join(f"{text}\n" for text in texts),
            capture_output=True,
            text=True,
            timeout=120,
            **more,  # type: ignore[call-overload]
        )
        if done.returncode:
            until_settled(server.http_url)
        return done

    return embed  # type: ignore[return-value]


def test_a_killed_embed_goes_on_where_it_was(
    embed: Embed, server: Server, tmp_path: Path, environment: dict[str, str]
) -> None:
    output = tmp_path / "vectors.npz"
    killed = subprocess.Popen(
        [TRITONCLIP, "embed", "-", "--text", "-o", output, "--url", server.grpc_url, "-m", "demo"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert killed.stdin is not None
    killed.stdin.write("".join(f"{text}\n" for text in TEXTS[:2000]).encode())
    killed.stdin.flush()
    batch = 1024 * 192 * 4
    wait_for(lambda: path_for(output).exists() and path_for(output).stat().st_size > batch)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    until_settled(server.http_url)
    assert not output.exists()

    done = embed("-o", output, "--json")
    fresh = embed("-o", tmp_path / "fresh.npz")

    assert done.returncode == fresh.returncode == 0, done.stderr
    assert 1024 <= json.loads(done.stdout)["earlier"] <= 2000
    written, expected = np.load(output), np.load(tmp_path / "fresh.npz")
    assert written["names"].tolist() == expected["names"].tolist() == TEXTS
    np.testing.assert_allclose(written["embeddings"], expected["embeddings"], atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh.npz", "vectors.npz"]


def test_a_result_is_not_replaced_by_a_worse_one(embed: Embed, tmp_path: Path) -> None:
    embed("-o", "x.parquet", texts=TEXTS[:50])
    before = (tmp_path / "x.parquet").read_bytes()

    fewer = embed("-o", "x.parquet", texts=TEXTS[:10])
    assert fewer.returncode == 1
    assert "x.parquet holds 50 vectors and this run has 10" in fewer.stderr
    assert (tmp_path / "x.parquet").read_bytes() == before

    told = embed("-o", "x.parquet", "--overwrite", "--json", texts=TEXTS[:10])
    data = json.loads(told.stdout)
    assert (data["embedded"], data["earlier"]) == (10, 10)
    more = embed("-o", "x.parquet", texts=TEXTS[:20])
    assert more.returncode == 0


def test_pictures_that_all_fail_leave_the_result(
    server: Server, tmp_path: Path, environment: dict[str, str]
) -> None:
    where = ("-o", "x.parquet", "--url", server.grpc_url, "--model", "demo")

    def embed(*pictures: object) -> subprocess.CompletedProcess[str]:
        line = [TRITONCLIP, "embed", *map(str, pictures), *where]
        return subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )

    assert embed(sample_images()[0]).returncode == 0
    before = (tmp_path / "x.parquet").read_bytes()

    failed = embed("nosuch.png")

    assert failed.returncode == 1
    assert "failed: image 0 (nosuch.png): no such file" in failed.stderr
    assert f"nothing could be embedded, so {tmp_path / 'x.parquet'} is not written" in failed.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]
    assert (tmp_path / "x.parquet").read_bytes() == before


@pytest.mark.parametrize(
    "format",
    ["parquet", "jsonl", *(pytest.param(n, marks=pytest.mark.slow) for n in ("npy", "npz"))],
)
def test_a_full_disk_is_one_sentence_and_costs_nothing_that_was_embedded(
    format: str, embed: Embed, small_disk: Callable[[int], Path]
) -> None:
    full, roomy = small_disk(1400), small_disk(40_000)

    failed = embed("-o", full / f"x.{format}", texts=TEXTS[:2000])
    left = [path.name for path in full.iterdir()]
    (roomy / f".x.{format}.unfinished").write_bytes((full / f".x.{format}.unfinished").read_bytes())
    done = embed("-o", roomy / f"x.{format}", "--json", texts=TEXTS[:2000])

    assert failed.returncode == 1
    assert "no space is left on the disk" in failed.stderr
    assert f"vectors are kept in {full}/.x.{format}.unfinished" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert len(failed.stderr.splitlines()) <= 3
    assert left == [f".x.{format}.unfinished"]
    data = json.loads(done.stdout)
    assert data["embedded"] == 2000
    assert data["earlier"] > 0


def test_a_limit_of_file_sizes_is_named(embed: Embed) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    failed = embed("-o", "x.npz", texts=TEXTS[:2000], preexec_fn=limited)

    assert failed.returncode == 1
    assert "the limit for files (`ulimit -f` shows it)" in failed.stderr


def test_a_repository_stays_as_it_was_where_the_disk_is_full(
    bundle: Callable[[str], Bundle],
    small_disk: Callable[[int], Path],
    environment: dict[str, str],
) -> None:
    disk = small_disk(160_000)

    def assemble(*more: str) -> subprocess.CompletedProcess[str]:
        line = [TRITONCLIP, "assemble", bundle("demo").path, "-o", disk / "repository", *more]
        return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60)

    def files() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in disk.rglob("*") if p.is_file()}

    assert assemble().returncode == 0
    before = files()
    room = os.statvfs(disk)
    filling = disk / "filling"
    with filling.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, room.f_bavail * room.f_frsize - 100_000)

    failed = assemble("--max-image-bytes", "1000000")

    assert failed.returncode == 1
    assert f"no space was left on the disk while it was written for {disk}" in failed.stderr
    assert "run the same again" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    filling.unlink()
    assert files() == before
    assert assemble("--max-image-bytes", "1000000").returncode == 0


def test_what_bench_measured_before_an_interruption_is_a_report(
    server: Server, tmp_path: Path, environment: dict[str, str]
) -> None:
    kept = tmp_path / ".report.json.unfinished"
    quick = ("--workloads", "text-short", "--warmup", "0", "--seconds", "0.2", "--repeats", "1")
    quick += ("--concurrency", ",".join(["1"] * 1000))
    output = tmp_path / "report.json"
    output.write_text("of before")
    running = subprocess.Popen(
        [TRITONCLIP, "bench", "-u", server.grpc_url, "-m", "demo", "-o", output, *quick],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(kept.exists)
    running.send_signal(signal.SIGINT)

    _, said = running.communicate(timeout=60)

    assert running.returncode == 130
    assert f"what was measured is kept in {kept}" in said
    assert Report.load(kept).measurements
    assert output.read_text() == "of before"


def wait_for(happened: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)
