"""How answers of the bundled model are judged."""

import pytest

from training.conversations import Question
from training.evaluate import is_right, repetition
from training.wordnet import Entry

HARBOR = Entry(
    word="harbor",
    count=9,
    part="noun",
    gloss="a sheltered port where ships can take on cargo",
    synonym="seaport",
    example="the old ship left the harbor",
    kind="port",
)


@pytest.mark.parametrize(
    ("aspect", "answer", "expected"),
    [
        ("meaning", "As a noun, harbor means: a sheltered port where ships take cargo.", True),
        ("meaning", "As a noun, harbor means: a port.", False),
        ("meaning", "As a noun, harbor means: a on where.", False),  # small words do not count
        ("synonym", "Another word for harbor is Seaport.", True),
        ("synonym", "Another word for harbor is seaports.", False),
        ("kind", "The word harbor names a kind of port.", True),
        ("kind", "The word harbor names a kind of seaport.", False),
        ("kind", "The word harbor names a kind of port authority.", False),
        ("example", "For example: the old ship left.", True),
        ("example", "For example: the harbor.", False),
    ],
)
def test_an_answer_is_right_if_it_holds_what_the_dictionary_says(aspect, answer, expected):
    assert is_right(Question(aspect, HARBOR, "", ""), answer) == expected


def test_repetition_counts_runs_of_three_words_said_before_in_the_same_answer():
    assert repetition(["one two three four", "one two three"]) == 0
    assert repetition(["a b c a b c"]) == pytest.approx(1 / 4)
    assert repetition(["", "two words"]) == 0
