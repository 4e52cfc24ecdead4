from __future__ import annotations

from pathlib import Path

import pytest

from tritonclip_search.errors import InvalidFilter
from tritonclip_search.filter_values import FIELDS
from tritonclip_search.filters import And, Compare, Holds, Not, OneOf, Or, parse

DAY = 86_400_000_000
YEAR_2024 = 1_704_067_200_000_000  # its first microsecond
YEAR_2025 = 1_735_689_600_000_000


def test_and_binds_closer_than_or_and_not_closer_than_both() -> None:
    one, two, three = OneOf("width", (1,)), OneOf("width", (2,)), OneOf("width", (3,))
    assert parse("width = 1 or width = 2 and not width = 3") == Or((one, And((two, Not(three)))))
    assert parse("(width = 1 or width = 2) and width = 3") == And((Or((one, two)), three))
    assert parse("not not width = 1") == one
    assert parse("WIDTH=1 AND Width=2") == And((one, two))


@pytest.mark.parametrize(
    ("text", "meaning"),
    {
        "size > 2MB": Compare("size", ">", 2_000_000),
        "size <= 1.5kb": Compare("size", "<=", 1500),
        "format = jpg": OneOf("format", ("JPEG",)),
        "format in (.tif, PNG)": OneOf("format", ("TIFF", "PNG")),
        "tags in ('red car', cat)": Holds("tags", ("red car", "cat")),
        "tags != and": Not(Holds("tags", ("and",))),
        "path under s3://bucket/2024": Holds("folders", ("s3://bucket/2024",)),
        "path under /pictures/": Holds("folders", ("/pictures",)),
        'path = "/a (1).jpg"': OneOf("path", ("/a (1).jpg",)),
        "kind = Video": OneOf("kind", ("video",)),
        "start >= 12.5": Compare("start", ">=", 12.5),
        "date < 2024": Compare("date", "<", YEAR_2024),
        "date >= 2024": Compare("date", ">=", YEAR_2024),
        "date <= 2024": Compare("date", "<", YEAR_2025),
        "date > 2024": Compare("date", ">=", YEAR_2025),
        "date = 2024": And((Compare("date", ">=", YEAR_2024), Compare("date", "<", YEAR_2025))),
        "date > 2024-12": Compare("date", ">=", YEAR_2025),
        "modified < 2024-01-02": Compare("modified", "<", YEAR_2024 + DAY),
        "date > 2024-01-01T23:59": Compare("date", ">=", YEAR_2024 + DAY),
    }.items(),
)
def test_values_are_read_as_their_field_needs(text: str, meaning: object) -> None:
    assert parse(text) == meaning


def test_a_relative_path_is_made_absolute() -> None:
    assert parse("path under pictures") == Holds("folders", (str(Path("pictures").absolute()),))


def test_a_wrong_field_is_named_with_those_that_exist() -> None:
    with pytest.raises(InvalidFilter) as raised:
        parse("widht >= 800")
    assert "no field 'widht'" in str(raised.value)
    assert all(field in str(raised.value) for field in FIELDS)


@pytest.mark.parametrize(
    ("text", "why"),
    {
        "": "expected a field, found nothing more",
        "width": "expected a comparison after 'width', found nothing more",
        "width >=": "expected a value for width, found nothing more",
        "width = = 3": "expected a value for width, found '='",
        "width >= wide": "width is a whole number, not 'wide'",
        "size > 2 MB": "expected 'and', 'or' or the end, found 'MB'",
        "size > 2PB": "size is bytes, or a number with KB, MB, GB or TB, not '2PB'",
        "date = 2024-13": "a date such as",
        "date = 9999": "a date such as",
        "date = yesterday": "a date such as",
        "kind = audio": "kind is one of image, video, moment, frame, not 'audio'",
        "path < a": "path compares with =, != or in, or under, not '<'",
        "tags like cat": "tags compares with =, != or in, not 'like'",
        "width under 3": "width compares with =, !=, <, <=, >, >= or in, not 'under'",
        "(width = 3": "expected ')', found nothing more",
        "width = 3)": "expected 'and', 'or' or the end, found ')'",
        "width in 3": "expected '(' after in, found '3'",
        "width in (3 4)": "expected ',' or ')', found '4'",
        "path = 'a": 'cannot read on from "\'a"',
        "(" * 60 + "width = 3" + ")" * 60: "more than 50 brackets",
    }.items(),
)
def test_what_is_not_in_the_grammar_is_refused_with_its_place(text: str, why: str) -> None:
    with pytest.raises(InvalidFilter) as raised:
        parse(text)
    assert why in str(raised.value)
