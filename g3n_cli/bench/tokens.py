"""The tokens that are computed: of a text, or random ones."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import get_args

from g3n_cli.bench.choices import Content
from g3n_cli.engine.api import Tokenizer
from g3n_cli.errors import InputError

CONTENTS: tuple[Content, ...] = get_args(Content)

_PART = 64
"""Sentences made into tokens at a time: of a long text no more than are needed."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


def load_text() -> str:
    """The bundled text; the README beside it says what it is."""
    return resources.files("g3n_cli.bench").joinpath("texts", "tom-sawyer.txt").read_text("utf-8")


@dataclass(frozen=True)
class Source:
    """Where tokens come from.

    Attributes:
        content: Sentences of ``text``, or any tokens of the vocabulary.
        text: What to take sentences from.
    """

    content: Content
    text: str = ""

    def __post_init__(self) -> None:
        """Refuse a text without any."""
        if self.content == "text" and not self.text.strip():
            raise InputError("the text to measure with is empty")

    def make_ids(self, tokenizer: Tokenizer, n_vocab: int, n: int, seed: int) -> list[int]:
        """``n`` token ids; other seeds give other ones, equal seeds the same."""
        rng = random.Random(seed)
        if self.content == "random":
            return list(itertools.islice(_draw_ids(tokenizer, n_vocab, rng), n))
        ids: list[int] = []
        for text in self._draw_texts(rng):
            ids += tokenizer.encode(text, parse_special=False)
            if len(ids) >= n:
                break
        return ids[:n]

    def cut(self, n: int, seed: int) -> Source:
        """A part of about ``n`` characters, if there are more; seeds as above."""
        if self.content == "random" or len(self.text) <= n:
            return self
        return Source(self.content, self.make_text(n, seed))

    def make_text(self, n: int, seed: int) -> str:
        """Whole words of about ``n`` characters, at least one of these; seeds as above."""
        made = ""
        for text in self._draw_texts(random.Random(seed)):
            made += text
            if len(made) > n:
                break
        cut = made.rfind(" ", 0, max(1, n) + 1)
        return made[: cut if cut > 0 else max(1, n)]  # some languages put nothing between words

    def _draw_texts(self, rng: random.Random) -> Iterator[str]:
        """Parts of the text, with each sentence once before any comes again, in another order."""
        parts = (part.strip() for part in _SENTENCE_END.split(self.text))
        sentences = list(dict.fromkeys(part for part in parts if part))
        while True:
            rng.shuffle(sentences)
            for first in range(0, len(sentences), _PART):
                yield " ".join(sentences[first : first + _PART]) + "\n"


def _draw_ids(tokenizer: Tokenizer, n_vocab: int, rng: random.Random) -> Iterator[int]:
    """Tokens that are text: none that controls anything."""
    while True:
        token = rng.randrange(n_vocab)
        if tokenizer.piece(token):
            yield token
