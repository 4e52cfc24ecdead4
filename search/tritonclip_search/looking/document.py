"""What the HTML pages have in common: one file each, no script, no network."""

from __future__ import annotations

import html

_DOCUMENT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem;
         padding: 0 1rem; background: Canvas; color: CanvasText; }}
  h1 {{ font-size: 1.3rem; }}
  ol {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(11rem, 45%), 1fr));
       gap: 1rem; list-style: none; padding: 0; }}
{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{subtitle}</p>
{content}</main>
</body>
</html>
"""


def document(title: str, subtitle: str, style: str, content: str) -> str:
    """The whole page, its entries in lists that are as wide as the window.

    Args:
        title: plain text, as the subtitle.
        subtitle: below the title.
        style: more CSS.
        content: HTML.
    """
    return _DOCUMENT.format(
        title=html.escape(title), subtitle=html.escape(subtitle), style=style, content=content
    )
