"""Decisions as one HTML file that needs nothing else: pictures inline, no script, no network.

Every picture is blurred until it is clicked: nobody should have to see what they did not choose to
look at.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

from tritonclip_search.looking.document import document
from tritonclip_search.looking.page import link
from tritonclip_search.looking.thumbnails import thumbnail
from tritonclip_search.policy.moderation import Moderated
from tritonclip_search.policy.rules import Action

_SIDE = 240
_SHOWN = 500  # of each kind of decision; a browser takes seconds for more

_STYLE = """\
  h2 { font-size: 1.1rem; margin-top: 2rem; }
  label { display: block; overflow: hidden; position: relative; cursor: pointer; }
  label input { position: absolute; opacity: 0; }
  label:focus-within { outline: 2px solid; outline-offset: 2px; }
  img, .none { width: 100%; aspect-ratio: 1; object-fit: contain; background: #8882;
               display: grid; place-items: center; }
  img { filter: blur(14px); }
  input:checked + img { filter: none; }
  a { color: inherit; overflow-wrap: anywhere; }
  small { opacity: .75; display: block; }
"""


def page(title: str, subtitle: str, moderated: Sequence[Moderated]) -> str:
    """The HTML: the most severe decisions first, and the clearest first among those alike.

    Args:
        title: the policy's name.
        subtitle: what else a reader should know.
        moderated: in any order.
    """
    parts: list[str] = []
    for action in reversed(Action):
        alike = [one for one in moderated if one.decision.action is action]
        alike.sort(key=lambda one: -one.decision.margin)
        if not alike:
            continue
        more = f", the first {_SHOWN} shown" if len(alike) > _SHOWN else ""
        parts.append(f"<h2>{action.value}: {len(alike):,}{more}</h2>\n<ol>\n")
        parts += map(_entry, alike[:_SHOWN])
        parts.append("</ol>\n")
    return document(title, f"{subtitle} Click a picture to see it.", _STYLE, "".join(parts))


def _entry(one: Moderated) -> str:
    picture, decision = one
    path = html.escape(picture.path)
    name = html.escape(picture.path.rpartition("/")[2])
    when = f" {picture.start:.1f} to {picture.end:.1f} s" if picture.end else ""
    chance = "" if decision.probability is None else f", {decision.probability:.1%}"
    rule = html.escape(decision.nearest.rule)
    why = html.escape(decision.prompt or "head")
    verb = "" if decision.rule else "nearest: "
    return (
        f'<li>{_picture(picture.path, name)}<a href="{html.escape(link(picture.path))}" '
        f'title="{path}">{name}</a>{when}<small>{verb}{rule}: {why}</small>'
        f"<small>margin {decision.margin:+.2f}{chance}</small></li>\n"
    )


def _picture(path: str, name: str) -> str:
    small = thumbnail(path, _SIDE)
    if small is None:
        return '<div class="none">not readable now</div>'
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    encoded = base64.b64encode(file.getvalue()).decode()
    return (
        f'<label><input type="checkbox" aria-label="show {name}">'
        f'<img alt="" loading="lazy" src="data:image/jpeg;base64,{encoded}"></label>'
    )
