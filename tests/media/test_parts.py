from dataclasses import replace

from g3n_cli.media.parts import MediumPart
from tests.media_files import make_tone


def test_the_hash_is_of_kind_and_values():
    part = MediumPart("image", make_tone(0.1), "a")
    assert replace(part, label="b").content_hash == part.content_hash
    assert replace(part, kind="audio").content_hash != part.content_hash
    assert replace(part, values=make_tone(0.2)).content_hash != part.content_hash
