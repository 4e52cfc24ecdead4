"""Asking a model for two embeddings to see whether it is well."""

from __future__ import annotations

import io
import math
import secrets
import time
from dataclasses import dataclass

from tritonclip.info import IMAGE_SUFFIX, TEXT_SUFFIX
from tritonclip.wire import InferRequest

# How long a model that was well is taken to be so, in seconds.
FRESH_SECONDS = 1.0


@dataclass
class Probe:
    """When a model was last seen to embed, and how to see that."""

    passed_at: float = -math.inf

    @property
    def is_fresh(self) -> bool:
        """Whether it was seen only just now."""
        return time.monotonic() - self.passed_at < FRESH_SECONDS

    def passed(self) -> None:
        """Note that it has embedded."""
        self.passed_at = time.monotonic()

    @staticmethod
    def requests(name: str) -> list[InferRequest]:
        """A picture and a text that no response cache of the server knows."""
        from PIL import Image

        color = secrets.token_bytes(3)
        picture = io.BytesIO()
        Image.new("RGB", (8, 8), (color[0], color[1], color[2])).save(picture, "BMP")
        return [
            InferRequest(name + IMAGE_SUFFIX, "IMAGE", [picture.getvalue()]),
            InferRequest(name + TEXT_SUFFIX, "TEXT", [f"probe {color.hex()}".encode()]),
        ]
