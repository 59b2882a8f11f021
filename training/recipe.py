"""What data, training, export and evaluation have to agree on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from training.conversations import Turn

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
PAD, EOS, BOS, UNK, START, END = range(6)

N_PIECES, N_HEAD_WORDS = 8192, 4000

SIZES = {
    "full": (512,) * 10,
    "medium": (256,) * 5 + (0, 0) + (256,) * 3,
    "small": (128,) * 5 + (0, 0, 0) + (128,) * 2,
    "tiny": (64,) * 5 + (0, 0, 0, 0) + (64,),
}
"""Widths by layer of the nested models that are trained."""


class Encoder(Protocol):
    """Turns text into ids."""

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``."""
        ...


def encode(turns: Sequence[Turn], encoder: Encoder) -> tuple[list[int], list[bool]]:
    """Ids of a conversation, and which of them the model has to say."""
    ids, is_said = [BOS], [False]
    for ask, answer in turns:
        given = [START, *encoder.encode(f"user\n {ask}"), END, *encoder.encode("\n")]
        given += [START, *encoder.encode("model\n")]
        said = [*encoder.encode(answer), END]
        closing = encoder.encode("\n")
        ids += given + said + closing
        is_said += [False] * len(given) + [True] * len(said) + [False] * len(closing)
    return ids, is_said
