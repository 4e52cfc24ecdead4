"""A rule's prompts in its templates."""

from __future__ import annotations

import re

_ARTICLE = re.compile(r"(?:an?|the) ", re.IGNORECASE)
# Templates that bring a determiner, with one more word behind it or without: "a photo of a {}.",
# "the origami {}.".
_WITH_DETERMINER = re.compile(r"\b(?:an?|the|my|one|many)(?: [\w-]+)? \{\}", re.IGNORECASE)


def filled(prompt: str, template: str) -> str:
    """`a gun` in `a photo of a {}.` is `a photo of a gun.`: of two determiners, one goes."""
    if _WITH_DETERMINER.search(template):
        prompt = _ARTICLE.sub("", prompt, count=1) if _ARTICLE.match(prompt) else prompt
    return template.replace("{}", prompt)
