"""Emoji drawings with their names: from npm packages of SVG icons to labelled pixels.

The names, tags and subgroups are emojibase's; the drawings are Iconify's packages, one JSON file
for each drawing style. A style that ships `chars.json` says which code points each icon draws. For
the others the icon's name is matched with the emoji's names: its label, its Unicode name, and
whatever the styles with code points call it.

Run as a script, it writes the Twemoji drawings as a zip of PNG files:

    npm install emojibase-data@17 @iconify-json/twemoji
    python scripts/emoji.py --node-modules node_modules --output demo/twemoji.zip
"""

import argparse
import io
import json
import random
import re
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

EMOJI_STYLES = (
    "noto",
    "noto-v1",
    "fluent-emoji",
    "fluent-emoji-flat",
    "fluent-emoji-high-contrast",
    "emojione",
    "emojione-monotone",
    "fxemoji",
    "twemoji",
    "openmoji",
)
# Sets of national flags, whose icons are named by ISO 3166 code, "{}" below, in lower case.
FLAG_STYLES = {
    "flag:4x3": "{}-4x3",
    "flag:1x1": "{}-1x1",
    "circle-flags": "{}",
    "flagpack": "{}",
}
MONOCHROME = ("emojione-monotone", "fluent-emoji-high-contrast")
COUNTRY_FLAG_SUBGROUPS = (98, 99)

# Phrases a caption puts the name in.
TEMPLATES = (
    "{}",
    "a {}",
    "the {} emoji",
    "an emoji of {}",
    "an emoji of a {}",
    "a drawing of {}",
    "a drawing of a {}",
    "a picture of {}",
    "a picture of a {}",
    "a photo of a {}.",
    "an icon of a {}",
    "a cartoon {}",
)

TWEMOJI_LICENSE = """\
The pictures in this archive are drawings of Twemoji (https://github.com/jdecked/twemoji).

Graphics: copyright 2020 Twitter, Inc and other contributors, licensed under CC-BY 4.0,
https://creativecommons.org/licenses/by/4.0/

Changes: the drawings were taken from the npm package @iconify-json/twemoji, rendered from SVG at
72x72 pixels on a white background, and named after their emoji.

labels.json: names of the emoji, from emojibase-data (MIT, copyright Miles Johnson).
"""


@dataclass(frozen=True)
class Emoji:
    """One emoji without skin tone.

    `key` is its code points in lower-case hex, joined by hyphens, variation selectors dropped.
    """

    key: str
    slug: str
    name: str
    tags: tuple[str, ...]
    group: str  # of the Unicode charts, such as `food-drink`; `none` for regional indicators
    subgroup: int

    @property
    def is_country_flag(self) -> bool:
        """Whether this is the flag of a country or of a part of one."""
        return self.subgroup in COUNTRY_FLAG_SUBGROUPS

    @property
    def region(self) -> str:
        """ISO 3166 code of a country flag, in lower case: `fr`, `gb-eng`."""
        letters = [int(code, 16) for code in self.key.split("-")]
        if self.subgroup == 98:
            return "".join(chr(code - 0x1F1E6 + ord("a")) for code in letters)
        tag = "".join(chr(code - 0xE0000) for code in letters[1:-1])
        return f"{tag[:2]}-{tag[2:]}"


def slugify(name: str) -> str:
    """`flag: Curaçao` -> `flag-curacao`."""
    for symbol, word in (("&", " and "), ("#", " pound "), ("*", " asterisk "), ("!", "")):
        name = name.replace(symbol, word)
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"['.]", "", ascii_name)).strip("-")


def _key(hexcode: str) -> str:
    return "-".join(code for code in hexcode.lower().split("-") if code != "fe0f")


def _squeeze(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def load_emoji(node_modules: Path) -> list[Emoji]:
    """Every base emoji, in the order of the Unicode charts."""
    data = node_modules / "emojibase-data"
    records = json.loads((data / "en" / "data.json").read_text(encoding="utf-8"))
    groups = json.loads((data / "meta" / "groups.json").read_text(encoding="utf-8"))["groups"]
    return [
        Emoji(
            key=_key(record["hexcode"]),
            slug=slugify(record["label"]),
            name=record["label"],
            tags=tuple(record.get("tags", ())),
            group=groups.get(str(record.get("group")), "none"),
            subgroup=record.get("subgroup", -1),
        )
        for record in records
    ]


class IconSet:
    """One drawing style as Iconify packages it."""

    def __init__(self, node_modules: Path, name: str) -> None:
        folder = node_modules / "@iconify-json" / name
        icons: dict[str, Any] = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
        self.icons: dict[str, dict[str, Any]] = icons["icons"]
        self.aliases: dict[str, dict[str, Any]] = icons.get("aliases", {})
        self.width: int = icons.get("width", 16)
        self.height: int = icons.get("height", 16)
        chars = folder / "chars.json"
        by_code = json.loads(chars.read_text(encoding="utf-8")) if chars.exists() else {}
        self.by_key: dict[str, str] = {_key(code): icon for code, icon in by_code.items()}

    @cached_property
    def by_squeezed_name(self) -> dict[str, str]:
        """Names of icons and aliases by their letters and digits alone."""
        return {_squeeze(name): name for name in [*self.aliases, *self.icons]}

    @cached_property
    def names_by_key(self) -> dict[str, list[str]]:
        """Every name, aliases included, of each sequence of code points."""
        names: dict[str, list[str]] = {}
        for key, icon in self.by_key.items():
            alias_names = [a for a, entry in self.aliases.items() if entry["parent"] == icon]
            names[key] = [icon, *alias_names]
        return names

    def svg(self, name: str) -> str:
        """The icon as a square SVG document, centred when the drawing is not square."""
        alias = self.aliases.get(name, {})
        icon = self.icons[alias.get("parent", name)]
        body = icon["body"]
        width, height = icon.get("width", self.width), icon.get("height", self.height)
        if alias.get("hFlip"):
            body = f'<g transform="translate({width} 0) scale(-1 1)">{body}</g>'
        side = max(width, height)
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{(width - side) / 2} {(height - side) / 2} {side} {side}">{body}</svg>'
        )


class Drawings:
    """The drawings of all styles, looked up by style and emoji."""

    def __init__(self, node_modules: Path) -> None:
        self.node_modules = node_modules
        self.emoji = load_emoji(node_modules)

    def of_style(self, style: str) -> dict[Emoji, str]:
        """SVG of every emoji that `style` draws."""
        icon_set = IconSet(self.node_modules, style.partition(":")[0])
        if style in FLAG_STYLES:
            pattern = FLAG_STYLES[style]
            names = {e: pattern.format(e.region) for e in self.emoji if e.is_country_flag}
            found = {
                e: name
                for e, name in names.items()
                if name in icon_set.icons or name in icon_set.aliases
            }
        elif icon_set.by_key:
            found = {e: icon_set.by_key[e.key] for e in self.emoji if e.key in icon_set.by_key}
        else:
            found = self._match_names(icon_set)
        if style in MONOCHROME:  # a country's flag without its colours is another country's
            found = {e: name for e, name in found.items() if not e.is_country_flag}
        return {e: icon_set.svg(name) for e, name in found.items()}

    def _match_names(self, icon_set: IconSet) -> dict[Emoji, str]:
        """Icons by name; an icon goes to the emoji whose label it bears before any other."""
        found: dict[Emoji, str] = {}
        taken: set[str] = set()
        candidates = {e: list(self._names(e)) for e in self.emoji}
        for rank in range(max(map(len, candidates.values()))):
            for e in self.emoji:
                if e in found or rank >= len(candidates[e]):
                    continue
                name = icon_set.by_squeezed_name.get(_squeeze(candidates[e][rank]))
                icon = icon_set.aliases.get(name, {}).get("parent", name) if name else None
                if name and icon and icon not in taken:
                    found[e] = name
                    taken.add(icon)
        return found

    def _names(self, e: Emoji) -> Iterator[str]:
        yield e.slug
        if e.is_country_flag:
            yield e.slug.replace("flag-", "flag-for-", 1)
        for icon_set in self._sets_with_code_points:
            yield from icon_set.names_by_key.get(e.key, ())
        if "-" not in e.key:
            yield unicodedata.name(chr(int(e.key, 16)), "")

    @cached_property
    def _sets_with_code_points(self) -> list[IconSet]:
        sets = (IconSet(self.node_modules, style) for style in EMOJI_STYLES)
        return [icon_set for icon_set in sets if icon_set.by_key]


def phrases(emoji: Emoji) -> list[str]:
    """Ways to say an emoji's name: `flag: France`, `flag of France`, `France flag`."""
    kind, colon, rest = emoji.name.partition(": ")
    if not colon:
        return [emoji.name]
    if kind == "flag":
        return [emoji.name, f"flag of {rest}", f"{rest} flag"]
    return [emoji.name, f"{kind} {rest}"]


def named_captions(emoji: Emoji) -> list[str]:
    """Every phrase of the name in every template."""
    return [template.format(phrase) for phrase in phrases(emoji) for template in TEMPLATES]


def tagged_captions(emoji: Emoji) -> list[str]:
    """The name with a tag or two; for a quarter of them, tags alone."""
    tags = [tag for tag in emoji.tags if tag not in emoji.name.lower()]
    if not tags:
        return named_captions(emoji)
    draw = random.Random(emoji.slug)
    captions = []
    for _ in range(12):
        some = draw.sample(tags, min(len(tags), draw.choice((1, 2))))
        named = draw.random() < 0.75 or len(tags) < 3
        captions.append(", ".join([emoji.name, *some] if named else draw.sample(tags, 3)))
    return captions


def rasterise(svg: str, size: int) -> NDArray[np.uint8]:
    """Pixels [size, size, 4] of a square SVG: red, green, blue, alpha (not premultiplied)."""
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    return np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGBA"))


def on_white(rgba: NDArray[np.uint8]) -> Image.Image:
    """The drawing as an opaque RGB picture."""
    picture = Image.fromarray(rgba)
    canvas = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(canvas, picture).convert("RGB")


def write_zip(path: Path, node_modules: Path, style: str = "twemoji", size: int = 72) -> int:
    """Write `<slug>.png` for every emoji `style` draws, `labels.json` and `LICENSE.txt`.

    The same drawings give the same bytes: entries are sorted and carry no time of their own.
    """
    drawings = Drawings(node_modules).of_style(style)
    entries: dict[str, bytes] = {}
    for e, svg in drawings.items():
        buffer = io.BytesIO()
        picture = on_white(rasterise(svg, size))
        # No palette, though it would halve the file: open_clip's transform resizes an image in its
        # own mode, and a palette image only by nearest neighbour.
        picture.save(buffer, "PNG", optimize=True)
        entries[f"{e.slug}.png"] = buffer.getvalue()
    labels = {e.slug: e.name for e in sorted(drawings, key=lambda e: e.slug)}
    entries["labels.json"] = json.dumps(labels, ensure_ascii=False, indent=1).encode() + b"\n"
    entries["LICENSE.txt"] = TWEMOJI_LICENSE.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            compression = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            archive.writestr(info, entries[name], compression)
    return len(drawings)


def main() -> None:
    """Write the zip and say what went in."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--node-modules", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("demo/twemoji.zip"))
    arguments = parser.parse_args()
    count = write_zip(arguments.output, arguments.node_modules)
    print(f"{arguments.output}: {count} drawings, {arguments.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
