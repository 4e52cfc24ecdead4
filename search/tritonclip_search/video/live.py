"""Live sources: cameras and pipes as endless frames, whatever happens on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from tritonclip_search.errors import VideoError
from tritonclip_search.video.file import Video
from tritonclip_search.video.sampling import DEFAULT_FPS, Frame, check_fps, sample_video

# Seconds until it is tried again; doubled each time that it fails, up to the latter.
_PATIENCE, _MOST_PATIENCE = 1.0, 30.0


def public_name(url: str) -> str:
    """A live source without the user and password that it may have."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def watch(
    url: str,
    fps: float = DEFAULT_FPS,
    *,
    on_loss: Callable[[str], object] = lambda _: None,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Frame]:
    """Frames of a live source without end; their `time` is that of the clock, since 1970 UTC.

    One frame is held at a time. Whoever is slower than the source holds it up, until it drops
    the connection; a connection that is lost is made again, for ever.

    Args:
        url: of the source.
        fps: frames a second at most.
        on_loss: told why a connection was lost or cannot be made.
        sleep: waits between attempts.

    Raises:
        InvalidArgument: a rate that makes no sense.
    """
    check_fps(fps)
    patience = _PATIENCE
    while True:
        try:
            with Video(url, is_live=True) as video:
                offset = None
                for frame in sample_video(video, fps):
                    if offset is None:
                        offset = time.time() - frame.time
                    yield Frame(frame.time + offset, frame.image)
                    patience = _PATIENCE
            reason = "the source has ended"
        except VideoError as error:
            reason = str(error)
        on_loss(f"{reason}; trying again in {patience:g} s")
        sleep(patience)
        patience = min(2 * patience, _MOST_PATIENCE)
