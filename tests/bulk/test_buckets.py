"""Buckets as sources and targets, over a real S3 API on this machine."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bulk_files import files_below, write_tar
from tritonclip_bulk.pool import Endpoints
from tritonclip_bulk.run import Options, Progress, bulk

TARS = 14


class Bucket:
    """`s3://press`, with fourteen tars of three pictures."""

    def __init__(self, url: str, s3: Any) -> None:
        self.url = url
        self._s3 = s3

    def files(self, prefix: str) -> dict[str, bytes]:
        """What is there, below a prefix."""
        found = self._s3.list_objects_v2(Bucket="press", Prefix=prefix).get("Contents", [])
        keys = [one["Key"] for one in found]
        return {
            key.removeprefix(prefix): self._s3.get_object(Bucket="press", Key=key)["Body"].read()
            for key in keys
        }

    def trust(self, requests: int) -> None:
        """Ask for valid credentials after so many requests more. Nobody has such."""
        asked = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth",
            data=str(requests).encode(),
            headers={"Content-Type": "text/plain"},
        )
        urllib.request.urlopen(asked).read()


@pytest.fixture
def bucket(
    monkeypatch: pytest.MonkeyPatch, drawings: dict[str, bytes], tmp_path: Path
) -> Iterator[Bucket]:
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()  # with all that was in the last one
    _, port = server.get_host_and_port()
    url = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    urllib.request.urlopen(f"{url}/moto-api/reset", data=b"").read()
    s3fs.S3FileSystem.clear_instance_cache()  # of those that know another server
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="press")
    names = list(drawings)
    for number in range(TARS):
        some = names[3 * number : 3 * number + 3]
        write_tar(tmp_path / "one.tar", {name: drawings[name] for name in some})
        s3.upload_file(str(tmp_path / "one.tar"), "press", f"shards/{number:05d}.tar")
    yield Bucket(url, s3)
    server.stop()


@pytest.mark.slow
def test_a_bucket_becomes_a_bucket_of_vectors(
    bucket: Bucket, endpoints: Endpoints, tmp_path: Path
) -> None:
    report = bulk(["s3://press/shards"], "s3://press/vectors", endpoints)
    bulk(["s3://press/shards"], str(tmp_path / "out"), endpoints)

    assert (report.rows, report.failed, report.done) == (3 * TARS, 0, TARS)
    assert bucket.files("vectors/") == files_below(tmp_path / "out")


def test_credentials_that_expire_stop_the_run_and_cost_nothing(
    bucket: Bucket, endpoints: Endpoints
) -> None:
    bulk(["s3://press/shards"], "s3://press/whole", endpoints)

    def expire(now: Progress) -> None:
        if now.done == 3:
            bucket.trust(0)

    stopped = bulk(
        ["s3://press/shards"],
        "s3://press/vectors",
        endpoints,
        options=Options(),
        on_progress=expire,
    )
    bucket.trust(1_000_000)
    kept = bucket.files("vectors/receipts/")
    done = bulk(["s3://press/shards"], "s3://press/vectors", endpoints)

    assert stopped.stopped
    assert "s3://press/" in stopped.undone[0]
    assert "hunter2" not in str(stopped)
    assert 3 <= stopped.done < TARS
    assert len(kept) == stopped.done
    assert (done.earlier, done.rows) == (stopped.done, 3 * TARS)
    assert bucket.files("vectors/") == bucket.files("whole/")
