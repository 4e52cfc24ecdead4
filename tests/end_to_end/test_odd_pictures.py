"""Pictures that stopped the runs of others, each beside good ones that it may cost nothing."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tritonclip import Client
from tritonclip_export.samples import sample_images
from tritonclip_export.server.server import Server
from tritonclip_search import open_collection

TRITONCLIP = Path(sys.executable).with_name("tritonclip")


def encoded(image: Image.Image, format: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format)
    return stream.getvalue()


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in a few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def photograph() -> bytes:
    return next(file for file in sample_images() if file.suffix == ".jpg").read_bytes()


def test_one_odd_picture_costs_its_neighbours_nothing(
    server: Server, tmp_path: Path, environment: dict[str, str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    good = {
        "one pixel.png": encoded(Image.new("RGB", (1, 1), "red"), "PNG"),
        " leading blank.png": encoded(Image.new("RGB", (9, 9), "blue"), "PNG"),
        # A NumPy array of bytes would lose them.
        "ends in zeros.bmp": encoded(Image.new("RGB", (64, 64)), "BMP"),
        "photograph.jpg": photograph(),
        os.fsdecode(b"caf\xe9.png"): encoded(Image.new("RGB", (5, 5), "green"), "PNG"),
    }
    bad = {
        "truncated.jpg": photograph()[:5000],
        "bomb.png": bomb(),
        "empty.png": b"",
        "text.jpg": b"<html>404</html>",
    }
    for name, content in {**good, **bad}.items():
        (folder / name).write_bytes(content)

    done = subprocess.run(
        [TRITONCLIP, "embed", folder, "--url", server.grpc_url, "--model", "demo"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 1
    rows = {Path(row["name"]).name: row for row in map(json.loads, done.stdout.splitlines())}
    shown = {os.fsencode(name).decode("utf-8", "backslashreplace"): name for name in good}
    assert rows.keys() == shown.keys()
    for name in bad:
        assert f"{name}): " in done.stderr
    with (
        Client(server.grpc_url, model="demo") as client,
        open_collection(str(tmp_path / "archive"), client) as collection,
    ):
        for name, row in rows.items():
            alone = client.embed_images(good[shown[name]])
            np.testing.assert_allclose(row["embedding"], alone, atol=1e-6)
        report = collection.add([str(folder)])

    # A store cannot hold the name that is not UTF-8, and says so.
    assert (report.added, len(report.failed)) == (len(good) - 1, 1)
    assert {Path(problem.path).name for problem in report.unreadable} == set(bad)
