import json

import pytest

from g3n_cli.ui.text import align, escape_json, make_visible, suggest
from g3n_cli.units import format_bytes

CONTROLS = [chr(c) for c in [*range(0x20), *range(0x7F, 0xA0)] if chr(c) not in "\n\t"]


@pytest.mark.parametrize("control", [*CONTROLS, "\u202e", "\u2066", "\u2028"])
def test_control_characters_are_made_visible(control):
    shown = make_visible(f"a{control}b")
    assert control not in shown
    assert len(shown) >= 3
    assert shown.isprintable()


def test_an_escape_sequence_is_a_picture():
    assert make_visible("\x1b[31mred\x07") == "␛[31mred␇"


@pytest.mark.parametrize("text", ["tab\tand\nnewline", "naïve 日本 🙂 עברית", "a\u200db", "plain"])
def test_ordinary_text_stays_as_it_is(text):
    assert make_visible(text) == text


def test_json_drives_no_terminal_and_keeps_its_value():
    text = "".join(CONTROLS) + "\u202e é"
    escaped = escape_json(json.dumps(text, ensure_ascii=False))
    assert json.loads(escaped) == text
    assert escaped.isprintable()


def test_suggest():
    assert suggest("hlp", ["help", "set"]) == "help"
    assert suggest("xyz", ["help", "set"]) is None


def test_sizes_are_decimal():
    assert format_bytes(1_731_000_000) == "1.73 GB"
    assert format_bytes(295_400_000) == "295 MB"
    assert format_bytes(26_300) == "26 kB"


def test_columns_are_as_wide_as_their_widest_cell():
    assert align([("a", "bcd", ""), ("ef", "g", "h")]) == "a   bcd\nef  g    h"
    assert align([]) == ""
