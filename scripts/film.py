"""A film of drawings, each for some seconds on a background of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
from PIL import Image

_SIZE, _FPS = (320, 240), 10
_BACKGROUNDS = ("white", "khaki", "pink", "lightblue")


def write_film(file: Path, drawings: Sequence[Path], seconds: int) -> None:
    """Encode the drawings one after the other."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=_FPS, options={"preset": "ultrafast"})
        stream.width, stream.height = _SIZE
        stream.pix_fmt = "yuv420p"
        for number, drawing in enumerate(drawings):
            shown = Image.new("RGBA", _SIZE, _BACKGROUNDS[number % len(_BACKGROUNDS)])
            with Image.open(drawing) as opened:
                picture = opened.convert("RGBA").resize((180, 180))
            shown.alpha_composite(picture, (70, 30))
            for _ in range(seconds * _FPS):
                container.mux(stream.encode(av.VideoFrame.from_image(shown.convert("RGB"))))
        container.mux(stream.encode(None))
