"""Hits as one HTML file that needs nothing else: pictures inline, no script, no network."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from urllib.parse import quote

from tritonclip_search.hits import Hit
from tritonclip_search.looking.document import document
from tritonclip_search.looking.thumbnails import of_hit
from tritonclip_search.sources.local import MEMBER, SHARD
from tritonclip_search.video.timecode import span

_SIDE = 320

_STYLE = """\
  a { color: inherit; text-decoration: none; display: block; }
  a:hover, a:focus-visible { outline: 2px solid; outline-offset: 4px; }
  img, video, .none { width: 100%; aspect-ratio: 1; object-fit: contain; background: #8882; }
  .none { display: grid; place-items: center; }
  .path { overflow-wrap: anywhere; }
  small, details { font-size: .85em; opacity: .8; overflow-wrap: anywhere; }
"""


def page(title: str, subtitle: str, hits: Sequence[Hit]) -> str:
    """The HTML of a page on which each hit has its picture, score and path, and opens its file.

    A moment of a video plays where it is, in what a browser can play.

    Args:
        title: what was asked.
        subtitle: what else a reader should know, e.g. how many were looked at.
        hits: in order.
    """
    entries = "".join(map(_entry, hits))
    return document(title, subtitle, _STYLE, f"<ol>\n{entries}</ol>\n")


def link(path: str) -> str:
    """A URL that opens what was indexed from `path`: of a shard's member, the shard."""
    if "://" in path:
        return path
    file = path.partition(SHARD + MEMBER)[0] + SHARD if SHARD + MEMBER in path else path
    return "file://" + quote(file if file.startswith("/") else f"/{file}")


def _entry(hit: Hit) -> str:
    path = html.escape(hit.path)
    score = f"{hit.score:.3f}"
    if hit.probability is not None:
        score += f" · {hit.probability:.1%}"
    name = path.rpartition("/")[2]
    address = html.escape(link(hit.path))
    picture = _inline(hit)
    if hit.is_video:
        address += f"#t={hit.start:.3f},{hit.end:.3f}"
        when = span(hit.start, hit.end)
        score = f"{when} · {score}"
        poster = f' poster="{picture}"' if picture else ""
        shown = (
            f'<video controls muted preload="none" aria-label="{name}, {when}"{poster}'
            f' src="{address}"></video><a href="{address}" title="{path}">'
        )
    else:
        shown = f'<a href="{address}" title="{path}">' + (
            f'<img alt="" loading="lazy" src="{picture}">'
            if picture
            else '<div class="none">not readable now</div>'
        )
    return (
        f'<li>{shown}<div class="path">{name}</div></a><small>{score}</small>{_others(hit)}</li>\n'
    )


def _others(hit: Hit) -> str:
    """The paths of what is the same picture, to be unfolded."""
    if not hit.near_duplicates:
        return ""
    paths = "<br>".join(html.escape(other.path) for other in hit.near_duplicates)
    count = len(hit.near_duplicates)
    return f"<details><summary>{count} more like it</summary>{paths}</details>"


def _inline(hit: Hit) -> str:
    """The picture as a URL that holds it; empty where it can't be had."""
    small = of_hit(hit, _SIDE)
    if small is None:
        return ""
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
