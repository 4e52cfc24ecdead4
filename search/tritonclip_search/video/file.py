"""A video file, decoded packet by packet, so that damage costs no more than itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from fractions import Fraction
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from tritonclip_search.errors import VideoError, reason_of
from tritonclip_search.filter_values import microseconds
from tritonclip_search.video.damage import Damage, DamageLog

if TYPE_CHECKING:
    from av import Packet, VideoFrame

Source: TypeAlias = str | os.PathLike[str] | BinaryIO
"""A path, a URL that FFmpeg opens, or an open file that can seek."""
OnDamage: TypeAlias = Callable[[Damage], object]

EPSILON = 1e-6
"""Seconds by which times of frames are off where they are written in other units."""
# As FFmpeg calls them. Not among them are playlists, whose authors could have any file of this
# machine or address of its network read, and pictures, which the server decodes.
_FORMATS = "asf,avi,flv,h264,hevc,ivf,m4v,matroska,mov,mpeg,mpegts,mpegvideo,mxf,obu,ogg,rm,wtv"
_LIVE_FORMATS = f"{_FORMATS},live_flv,rtsp,rtp,sdp"
# Seconds without anything from a live source after which it is lost.
_SILENCE = 10.0
# Packets that are held undecoded until it is clear whether a frame among them is wanted: more than
# ten seconds of most films. Where a file has hardly any keyframe, no more than this is held.
_HELD_BYTES = 16 * 2**20
# Failures of the demuxer with no packet in between, after which nothing more is expected of it.
_MOST_FAILURES = 16
# Seconds by which to go further back, as in streams without an index seeking may go too far.
_SOONER = (0.0, 5.0, 30.0, float("inf"))
# Seconds that a video may lack of what its header says, as headers round.
_TOLERANCE = 1.0


class Video:
    """An open video. Times are seconds from its beginning, as players count them."""

    def __init__(
        self,
        source: Source,
        on_damage: OnDamage = lambda _: None,
        *,
        is_live: bool = False,
    ) -> None:
        """Open `source`, without decoding anything yet.

        Args:
            source: what to open.
            on_damage: told of each range that cannot be decoded, once it is passed.
            is_live: whether it is a stream without end, which is given up where nothing comes.

        Raises:
            VideoError: it is no video, has no picture, or is in a codec that FFmpeg lacks.
        """
        self._av = _library()
        try:
            opened = source if hasattr(source, "read") else os.fspath(source)
            self._container = self._av.open(
                opened,
                metadata_errors="ignore",
                options={"format_whitelist": _LIVE_FORMATS if is_live else _FORMATS},
                timeout=_SILENCE if is_live else None,
            )
        except self._av.error.ArgumentError as error:  # of what is not on the list
            raise VideoError("is of a kind of file that holds no video") from error
        except (self._av.error.FFmpegError, OSError, ValueError) as error:
            raise VideoError(f"cannot be opened as a video: {reason_of(error)}") from error
        try:
            self._stream = _pictures(self._container.streams.video)
        except VideoError:
            self._container.close()
            raise
        self._stream.thread_type = "AUTO"
        self._time_base = self._stream.time_base or Fraction(1, 1_000_000)
        self._log = DamageLog(on_damage)
        self._offset = (self._container.start_time or 0) / 1_000_000
        self.wanted = 0.0
        """Frames that are shown before may be left out; may grow while frames are taken."""
        self.end = 0.0
        """Where what was read so far ends."""

    @property
    def width(self) -> int:
        """In pixels, as stored; so is `height`."""
        return int(self._stream.codec_context.width)

    @property
    def height(self) -> int:
        """See `width`."""
        return int(self._stream.codec_context.height)

    @property
    def format(self) -> str:
        """The codec of its pictures, e.g. `H264`, `HEVC`, `VP9`, `AV1`."""
        return str(self._stream.codec_context.codec.canonical_name).upper()

    @property
    def duration(self) -> float:
        """As its header says; 0 where it does not."""
        stream = self._stream
        if stream.duration is not None:
            return float(stream.duration * self._time_base)
        return float(self._container.duration or 0) / 1_000_000

    @property
    def taken(self) -> int:
        """When it was, as its header says: microseconds since 1970 UTC; 0 where it does not."""
        try:
            moment = datetime.fromisoformat(
                self._container.metadata.get("creation_time", "").replace("Z", "+00:00")
            )
        except ValueError:
            return 0
        aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        return max(0, microseconds(aware))

    def seek(self, time: float) -> None:
        """Go to a keyframe at or before `time`, seconds; to the last one where the file knows."""
        for sooner in _SOONER:
            target = int((max(0.0, time - sooner) + self._offset) * 1_000_000)
            try:
                self._container.seek(target)
                packets = self._container.demux(self._stream)
                first = next((p for p in packets if p.size and p.is_keyframe), None)
                at = None if first is None else self._time(first)
                if at is not None and at <= time + EPSILON:
                    self._container.seek(target)
                    return
            except (self._av.error.FFmpegError, OSError, IndexError):
                continue

    def frames(
        self,
    ) -> Iterator[tuple[float, VideoFrame]]:
        """Frames and their times, in order, of which those before `wanted` may be left out.

        Groups of pictures that end before it are read but not decoded. Where samples lie further
        apart than keyframes that spares what seeking would, and elsewhere it costs nothing.
        """
        held: list[Packet] = []
        size = 0
        for packet in self._packets():
            time = self._time(packet)
            is_early = time is not None and time < self.wanted - EPSILON
            if packet.is_keyframe and held and time is not None and time <= self.wanted + EPSILON:
                held, size = [], 0
                self._stream.codec_context.flush_buffers()
            held.append(packet)
            size += packet.size
            if not is_early or size > _HELD_BYTES:
                for one in held:
                    yield from self._decoded(one)
                held, size = [], 0
        yield from self._decoded(None)
        self._finish()

    def keyframes(
        self,
    ) -> Iterator[tuple[float, VideoFrame]]:
        """Keyframes and their times, of which those before `wanted` are left out."""
        for packet in self._packets():
            time = self._time(packet)
            if packet.is_keyframe and time is not None and time >= self.wanted - EPSILON:
                yield from self._decoded(packet)
                # Each by itself: a decoder that waits for more would give them out of order.
                yield from self._decoded(None)
                self._stream.codec_context.flush_buffers()
        self._finish()

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        self._container.close()

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _packets(self) -> Iterator[Packet]:
        failures = 0
        while failures < _MOST_FAILURES:
            try:
                for packet in self._container.demux(self._stream):
                    failures = 0
                    if packet.size:  # the last one is empty
                        time = self._time(packet)
                        if time is not None:
                            length = (packet.duration or 0) * self._time_base
                            self.end = max(self.end, time + float(length))
                        yield packet
            # An index error is PyAV's, of a packet of a stream that was not there at the beginning.
            except (self._av.error.FFmpegError, OSError, IndexError) as error:
                failures += 1
                self._log.bad(f"cannot be read: {reason_of(error)}")
            else:
                return

    def _decoded(self, packet: Packet | None) -> Iterator[tuple[float, VideoFrame]]:
        try:
            frames = self._stream.codec_context.decode(packet)
        except (self._av.error.FFmpegError, ValueError) as error:
            self._log.bad(f"cannot be decoded: {reason_of(error)}")
            return
        for frame in frames:
            if frame.is_corrupt or frame.pts is None:
                self._log.bad("cannot be decoded: the frame is corrupt")
                continue
            # Not `frame.time`, which needs a packet that the last frames have not.
            time = max(0.0, float(frame.pts * self._time_base) - self._offset)
            self._log.good(time)
            yield time, frame

    def _finish(self) -> None:
        """Tell of what is left of the damage, and of what should have come but has not."""
        # Where only the container says how long it is, that may be its sound.
        is_known = self._stream.duration is not None or not self._container.streams.audio
        if is_known and self.duration > self.end + _TOLERANCE:
            self._log.good(self.end)
            self._log.bad("is missing, though the header says that the video goes on")
            self._log.close(self.duration)
        self._log.close(self.end)

    def _time(self, packet: Packet) -> float | None:
        stamp = packet.dts if packet.pts is None else packet.pts
        return None if stamp is None else float(stamp * self._time_base) - self._offset


def has_decoder() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


def _library() -> Any:
    try:
        import av
        import av.error
    except ModuleNotFoundError as error:
        raise VideoError('videos need PyAV. pip install "tritonclip[video]"') from error
    return av


def _pictures(streams: Any) -> Any:
    """The stream to decode: the first that is no picture of a record's sleeve."""
    moving = [one for one in streams if not _is_cover(one)]
    if not moving:
        raise VideoError("has no pictures, only sound")
    if moving[0].codec_context is None:
        raise VideoError("is in a codec that FFmpeg does not know")
    return moving[0]


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & type(stream.disposition).attached_pic)
