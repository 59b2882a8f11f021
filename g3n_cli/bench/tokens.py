"""The tokens that are computed: of a text, or random ones."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from g3n_cli.bench.choices import Content
from g3n_cli.engine.api import Tokenizer
from g3n_cli.errors import InputError

CONTENTS: tuple[Content, ...] = get_args(Content)

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


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
        sentences = [part for part in _SENTENCE_END.split(self.text) if part.strip()]
        ids: list[int] = []
        while len(ids) < n:
            rng.shuffle(sentences)
            ids += tokenizer.encode(" ".join(sentences) + "\n", parse_special=False)
        return ids[:n]


def _draw_ids(tokenizer: Tokenizer, n_vocab: int, rng: random.Random) -> Iterator[int]:
    """Tokens that are text: none that controls anything."""
    while True:
        token = rng.randrange(n_vocab)
        if tokenizer.piece(token):
            yield token
