"""Conversations about words, composed from dictionary entries and wordings.

``python -m training.conversations 200`` prints so many questions in unseen wordings, each with its
answer: a text for ``g3n quality``.
"""

from __future__ import annotations

import argparse
import random
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.wordnet import Entry, read_entries

WORDINGS = Path(__file__).parent / "wordings.toml"
ASPECTS = ("meaning", "synonym", "example", "kind")
_A_PART = {"noun": "a noun", "verb": "a verb", "adjective": "an adjective", "adverb": "an adverb"}
_UNKNOWN_SHARE, _TALK_SHARE, _FOLLOW_SHARE = 0.06, 0.08, 0.5

Turn = tuple[str, str]
"""What a person asks, and the answer."""


@dataclass(frozen=True)
class Question:
    """A question with what its answer is made of, for grading."""

    aspect: str
    entry: Entry
    ask: str
    answer: str


class Composer:
    """Makes conversations.

    Args:
        entries: Of the words the model knows.
        unknown: Words it does not know, to say so.
        seed: Of all choices.
    """

    def __init__(self, entries: Sequence[Entry], unknown: Sequence[str], seed: int) -> None:
        self._entries, self._unknown = list(entries), list(unknown)
        self._wordings = tomllib.loads(WORDINGS.read_text())
        self._random = random.Random(seed)

    def epoch(self) -> Iterator[list[Turn]]:
        """Conversations in which every known word is the subject of one."""
        for entry in self._random.sample(self._entries, len(self._entries)):
            yield self._about(entry)
            draw = self._random.random()
            if draw < _UNKNOWN_SHARE:
                word = self._random.choice(self._unknown)
                aspect = self._random.choice(ASPECTS)
                ask = self._random.choice(self._wordings[aspect]["ask"]).format(word=word)
                yield [(ask, self._wordings["unknown"]["answer"].format(word=word))]
            elif draw < _UNKNOWN_SHARE + _TALK_SHARE:
                yield [self._talk()]

    def unseen_questions(self, count: int, *, follow_ups: bool = False) -> list[Question]:
        """Questions in wordings that are never trained on, about words that are.

        Only such as have an answer: a word without a synonym is not asked for one.
        """
        found: list[Question] = []
        while len(found) < count:
            entry, aspect = self._random.choice(self._entries), ASPECTS[len(found) % len(ASPECTS)]
            if aspect == "meaning" or getattr(entry, aspect):
                kind = "follow_unseen" if follow_ups else "unseen"
                ask = self._random.choice(self._wordings[aspect][kind]).format(word=entry.word)
                found.append(Question(aspect, entry, ask, self.answer(aspect, entry)))
        return found

    def unseen_conversations(self, count: int) -> list[list[Turn]]:
        """One question in an unseen wording each, with its answer; for loss and perplexity."""
        return [[(question.ask, question.answer)] for question in self.unseen_questions(count)]

    def answer(self, aspect: str, entry: Entry) -> str:
        """What the model is to say of one aspect of a word."""
        wording = self._wordings[aspect]
        values = {
            "word": entry.word,
            "a_part": _A_PART[entry.part],
            "gloss": entry.gloss,
            "synonym": entry.synonym,
            "example": entry.example,
            "kind": entry.kind,
        }
        if aspect != "meaning" and not values[aspect]:
            template = wording["none"]
        elif aspect == "kind":
            template = wording[entry.part]
        else:
            template = wording["answer"]
        return str(template).format(**values)

    def _about(self, entry: Entry) -> list[Turn]:
        aspects = self._random.sample(ASPECTS, len(ASPECTS))
        turns = [self._ask(aspects[0], entry, "ask")]
        for aspect in aspects[1:3]:
            if self._random.random() < _FOLLOW_SHARE:
                turns.append(self._ask(aspect, entry, "follow"))
        if self._random.random() < _TALK_SHARE:
            turns.insert(self._random.choice((0, len(turns))), self._talk())
        return turns

    def _ask(self, aspect: str, entry: Entry, kind: str) -> Turn:
        ask = self._random.choice(self._wordings[aspect][kind]).format(word=entry.word)
        if self._random.random() < 0.2:
            ask = ask.rstrip("?.")
        return ask, self.answer(aspect, entry)

    def _talk(self) -> Turn:
        talk = self._random.choice(self._wordings["talk"])
        return self._random.choice(talk["ask"]), talk["answer"]


def main() -> None:
    """Print questions and answers."""
    parser = argparse.ArgumentParser(prog="python -m training.conversations", description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    options = parser.parse_args()
    entries = read_entries(options.wordnet)[: options.count]
    for question in Composer(entries, [], seed=3).unseen_questions(options.count):
        sys.stdout.write(f" {question.ask} {question.answer}\n")


if __name__ == "__main__":
    main()
