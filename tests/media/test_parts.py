from dataclasses import replace

import pytest

from g3n_cli.media.parts import MediumPart, parse_time
from tests.media_files import make_tone


def test_the_hash_is_of_kind_and_values():
    part = MediumPart("image", make_tone(0.1), "a")
    assert replace(part, label="b").content_hash == part.content_hash
    assert replace(part, kind="audio").content_hash != part.content_hash
    assert replace(part, values=make_tone(0.2)).content_hash != part.content_hash


@pytest.mark.parametrize(
    ("text", "seconds"), [("65", 65), ("0.5", 0.5), ("1:05", 65), ("1:02:03.5", 3723.5)]
)
def test_times_as_people_write_them(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "x", "1:", ":5", "1:75", "-1:05", "1:2:3:4", "1:nan", "1.5:00"]
)
def test_what_is_no_time(text):
    with pytest.raises(ValueError, match=r"no time|invalid|could not"):
        parse_time(text)
