"""Pictures in a bucket, over a real S3 API on this machine."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from stand_ins.clips import Shot, write_clip
from tritonclip import Client
from tritonclip_search import Collection, Report, SourceError, open_collection
from tritonclip_search.looking.thumbnails import of_hit, thumbnail
from tritonclip_search.sources.item import Item
from tritonclip_search.sources.opening import open_source


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, twemoji: dict[str, bytes]) -> Iterator[object]:
    """A client of the API, in which the bucket `press` has three pictures and a text."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    _, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()  # of those that know another server
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="press")
    for name in ("cat", "dog", "rocket"):
        s3.put_object(Bucket="press", Key=f"2024/{name}.png", Body=twemoji[name])
    s3.put_object(Bucket="press", Key="2024/notes.txt", Body=b"none")
    yield s3
    server.stop()


def test_a_bucket_is_indexed_like_a_folder(
    bucket: object, collection: Collection, twemoji: dict[str, bytes]
) -> None:
    assert collection.add(["s3://press/2024"]) == Report(added=3)
    assert collection.add(["s3://press/2024"]) == Report(unchanged=3)
    hit, *_ = collection.search("a rocket")
    assert hit.path == "s3://press/2024/rocket.png"
    assert hit.record.folders == ("s3://press", "s3://press/2024")
    assert hit.record.size == len(twemoji["rocket"])
    small = thumbnail(hit.path, 32)
    assert small is not None
    assert small.size == (32, 32)
    bucket.delete_object(Bucket="press", Key="2024/cat.png")  # type: ignore[attr-defined]
    bucket.put_object(  # type: ignore[attr-defined]
        Bucket="press", Key="2024/dog.png", Body=twemoji["fox"]
    )
    report = collection.add(["s3://press"], prune=True)
    assert (report.changed, report.unchanged) == (1, 1)
    assert report.vanished == ["s3://press/2024/cat.png"]
    assert {record.path for record in collection.records("path under s3://press/2024")} == {
        "s3://press/2024/dog.png",
        "s3://press/2024/rocket.png",
    }


def test_a_video_in_a_bucket_is_indexed_as_one_in_a_folder(
    bucket: object, collection: Collection, twemoji: dict[str, bytes], tmp_path: Path
) -> None:
    shots = [Shot(Image.open(io.BytesIO(twemoji[name])), 3.0) for name in ("cat", "rocket")]
    write_clip(tmp_path / "clip.mp4", shots, fps=12)
    bucket.upload_file(str(tmp_path / "clip.mp4"), "press", "clips/clip.mp4")  # type: ignore[attr-defined]
    assert collection.add(["s3://press/clips"]).added == 1
    assert collection.add(["s3://press/clips"]) == Report(unchanged=1)
    (best,) = collection.search("a rocket", top=1)
    assert best.path == "s3://press/clips/clip.mp4"
    assert (best.start, best.end) == (3, pytest.approx(6, abs=0.1))
    poster = of_hit(best, 32)
    assert poster is not None
    assert max(poster.size) == 32


def test_one_object_is_a_source_too(bucket: object) -> None:
    del bucket
    (item,) = open_source("s3://press/2024/cat.png").items()
    assert isinstance(item, Item)
    assert item.path == "s3://press/2024/cat.png"
    assert item.modified > 1_600_000_000_000_000


def test_a_bucket_that_is_not_there_is_named_and_no_key_is_shown(
    bucket: object, collection: Collection
) -> None:
    del bucket
    with pytest.raises(SourceError) as raised:
        collection.add(["s3://absent/2024"])
    assert "s3://absent/2024" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_protocol_without_its_library_is_named(tmp_path: Path, client: Client) -> None:
    with (
        open_collection(str(tmp_path / "archive"), client) as collection,
        pytest.raises(SourceError, match="gs://bucket"),
    ):
        collection.add(["gs://bucket"])
