"""What every engine offers: the one interface that chat, bench and commands are written against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from g3n_cli.engine.parked import Parked
from g3n_cli.engine.prompt import Prompt

Logits = npt.NDArray[np.float32]
"""[n_vocab] float32, one position's logits."""

ManyLogits = npt.NDArray[np.float32]
"""[n, n_vocab] float32, the logits of n positions."""

Progress = Callable[[int, int], None]
"""Called with (positions done, positions to do) while a prompt is computed."""

Prefill = Callable[[Prompt, Progress | None], Logits]
"""``Engine.prefill``, or what stands for it."""


@dataclass(frozen=True)
class ModelInfo:
    """What a person and a template need to know of an open model.

    Attributes:
        name: Name the model was asked for by, else the file's stem.
        path: The GGUF file.
        architecture: ``general.architecture`` of the file.
        size: MatFormer size in use; "full" where a model has one size.
        n_vocab: Tokens of the vocabulary.
        n_ctx_train: Context the model was trained for.
        chat_template: Jinja source from the file, or None.
        end_ids: Tokens that end a turn.
        kernels: Whose matrix products: a variant of g3n's own, or ggml's.
        n_embd: Values of an embedding that a prompt may give; None where it must be all tokens.
    """

    name: str
    path: Path
    architecture: str
    size: str
    n_vocab: int
    n_ctx_train: int
    chat_template: str | None
    end_ids: frozenset[int]
    kernels: str = "ggml"
    n_embd: int | None = None


@dataclass(frozen=True)
class SizeInfo:
    """A nested model that an open one offers.

    Attributes:
        name: What to ask for.
        n_params: Effective parameters: those it computes with, without embeddings.
        n_bytes: Weights it has in memory.
        n_layer: Layers it computes.
        read_bytes: Weights that are read for each token.
    """

    name: str
    n_params: int
    n_bytes: int
    n_layer: int
    read_bytes: int


class Tokenizer(Protocol):
    """Text to token ids and back."""

    bos_id: int | None
    eos_id: int | None

    def encode(self, text: str, *, add_bos: bool = False, parse_special: bool = True) -> list[int]:
        """Token ids of ``text``; with ``parse_special`` turn markup becomes its tokens."""
        ...

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """Bytes of one token, maybe half a character; control tokens only if ``special``."""
        ...


class Engine(Protocol):
    """An open model with one conversation in its K/V cache. Owns its memory; close it.

    Calls may come from any one thread at a time. KeyboardInterrupt or Terminated, raised by a
    signal during a call, stops the computation within a fraction of a second; positions computed
    by then stay valid.
    """

    @property
    def info(self) -> ModelInfo:
        """What is known of the model."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own tokenizer."""
        ...

    @property
    def n_ctx(self) -> int:
        """Positions the context holds."""
        ...

    @property
    def n_past(self) -> int:
        """Positions computed and kept."""
        ...

    @property
    def sizes(self) -> tuple[SizeInfo, ...]:
        """The nested models on offer, the largest first; none where a model has one size."""
        ...

    @property
    def state_identity(self) -> str | None:
        """What K/V of the same tokens depends on, sizes included; None where none can be saved."""
        ...

    def resize(
        self, name: str, *, recompute: bool = False, on_progress: Progress | None = None
    ) -> None:
        """Go on as another of the nested models, from the next position on.

        Positions computed so far count as they are, unless they lack K/V that the size needs or
        ``recompute`` asks for new ones; such are computed again when they are needed.

        Args:
            name: ``full``, a published name, a share of the parameters, their number, or widths.
            recompute: Forget all positions.
            on_progress: Called with bytes of weights read and to be read.

        Raises:
            UsageError: there is no such size; nothing has changed.
        """
        ...

    def prefill(self, prompt: Prompt, on_progress: Progress | None = None) -> Logits:
        """Make ``prompt`` the whole content of the context and return its last position's logits.

        The longest prefix already computed is reused; at least the last position is computed.

        Raises:
            InputError: ``prompt`` is empty or longer than ``n_ctx``.
        """
        ...

    def count_computed(self, prompt: Prompt) -> int:
        """First positions of ``prompt`` that are there already, computed as they would be now."""
        ...

    def decode(self, token: int) -> Logits:
        """Append one token and return its logits.

        Raises:
            InputError: the context is full.
        """
        ...

    @property
    def n_speculate(self) -> int:
        """Most guessed tokens that ``extend`` should be given beside one that is certain."""
        ...

    def extend(self, tokens: Sequence[int]) -> ManyLogits:
        """Append tokens and return the logits of each.

        Raises:
            InputError: there is no room for them.
        """
        ...

    def trim(self, n_past: int) -> None:
        """Forget positions from ``n_past`` on, and more where an engine cannot go back to there."""
        ...

    def save_state(self, path: Path, beginning: Path | None = None) -> int:
        """Write what is computed to a file and return its bytes; 0 where an engine cannot.

        Args:
            path: The file.
            beginning: Another one in its folder; what it holds is left out if it is just what the
                context begins with, and read from there by ``load_state``.

        Raises:
            OSError: it cannot be written.
        """
        ...

    def load_state(self, path: Path) -> int:
        """Take what a file holds as computed and return how many positions that is.

        Raises:
            StateError: it is broken, too long, or of another model or other settings, or what it
                begins with is gone.
        """
        ...

    def park(self) -> Parked | None:
        """A copy of what is computed, in memory; None where an engine cannot copy it."""
        ...

    def count_parked_bytes(self) -> int:
        """Memory of the K/V that ``park`` would copy, without copying any."""
        ...

    def unpark(self, parked: Parked) -> None:
        """Take a copy of this engine's as computed, in place of what it holds."""
        ...

    def count_left(self, n_past: int) -> int:
        """How many positions ``trim(n_past)`` would leave."""
        ...

    def close(self) -> None:
        """Free the model. The engine cannot be used afterwards; closing twice is harmless."""
        ...
