"""What data, training, export and evaluation have to agree on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from training.conversations import Turn

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
PAD, EOS, BOS, UNK, START, END = range(6)

N_PIECES, N_HEAD_WORDS = 8192, 4000

Sizes = Mapping[str, tuple[int, ...]]
"""Widths by layer of nested models, by name; 0 leaves a layer out."""

EARLY_SIZES: Sizes = {
    "full": (512,) * 10,
    "medium": (256,) * 5 + (0, 0) + (256,) * 3,
    "small": (128,) * 5 + (0, 0, 0) + (128,) * 2,
    "tiny": (64,) * 5 + (0, 0, 0, 0) + (64,),
}
SIZES: Sizes = {
    "full": (512,) * 10,
    "medium": (0,) + (256,) * 4 + (0, 0, 0, 0) + (256,),
    "small": (0, 0) + (128,) * 3 + (0, 0, 0, 0) + (128,),
}
"""Those of the model that ships."""

LATE_SIZES: Sizes = {**SIZES, "tiny": (0, 0, 0) + (64,) * 2 + (0, 0, 0, 0) + (64,)}
"""The smallest turned out to be of no use."""


@dataclass(frozen=True)
class Phase:
    """A part of the training.

    Attributes:
        n_steps: How long it lasts.
        sizes: What a step may train.
        shares: How often each of them is drawn.
        learning_rate: The highest, after ``warm_up`` steps; it falls along a cosine.
    """

    n_steps: int
    sizes: Sizes
    shares: tuple[float, ...]
    learning_rate: float
    warm_up: int


PHASES = (
    Phase(3800, EARLY_SIZES, (0.4, 0.2, 0.2, 0.2), 3e-3, 200),
    # Facts lie in per-layer embeddings: a size is only worse if it has fewer layers.
    Phase(900, LATE_SIZES, (0.25, 0.25, 0.25, 0.25), 8e-4, 30),
)


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
