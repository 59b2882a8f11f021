"""llama.cpp's samplers: what picks a token among candidates."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt

from g3n_cli.errors import UsageError
from g3n_cli.ggml.handles import Managed
from g3n_cli.ggml.llama import Vocab
from g3n_cli.ggml.llama_log import C, captured_stderr, take_error

CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""``llama_token_data``."""


class Candidates:
    """Tokens to choose from, in a buffer that samplers reorder, cut and reuse.

    Args:
        n: Token ids 0 to n - 1 fit.
    """

    def __init__(self, n: int) -> None:
        self._ids = np.arange(n, dtype=np.int32)
        self._rows = np.zeros(n, CANDIDATE)
        self._array = C.llama_token_data_array(
            self._rows.ctypes.data_as(C.llama_token_data_p), n, -1, False
        )

    def fill(self, logits: npt.NDArray[np.float32]) -> None:
        """All tokens again, with ``logits`` [n]."""
        # By field: copying whole records is twenty times slower in numpy.
        self._rows["id"] = self._ids
        self._rows["logit"] = logits
        self._array.size = len(self._rows)
        self._array.sorted = False

    @property
    def rows(self) -> npt.NDArray[np.void]:
        """The candidates left, ``CANDIDATE`` records; a view."""
        return self._rows[: self._array.size]

    @property
    def selected(self) -> int:
        """Id of the token the last sampler of a chain chose."""
        assert 0 <= self._array.selected < self._array.size
        return int(self._rows["id"][self._array.selected])

    def apply(self, sampler: int) -> None:
        """Let a sampler change or cut the candidates."""
        C.llama_sampler_apply(sampler, ctypes.byref(self._array))


class SamplerChain(Managed):
    """Samplers applied one after the other; the last one chooses."""

    def __init__(self) -> None:
        self._ptr = C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())

    def add_penalties(self, last_n: int, repeat: float) -> None:
        """Make the last accepted tokens less likely."""
        # The vocabulary's size matters to samplers that run on a GPU only.
        self._add(C.llama_sampler_init_penalties(0, last_n, repeat, 0.0, 0.0))

    def add_top_k(self, k: int) -> None:
        """Keep the ``k`` likeliest."""
        self._add(C.llama_sampler_init_top_k(k))

    def add_top_p(self, p: float) -> None:
        """Keep the likeliest that have probability ``p`` together."""
        self._add(C.llama_sampler_init_top_p(p, 1))

    def add_min_p(self, p: float) -> None:
        """Drop those below ``p`` times the likeliest one's probability."""
        self._add(C.llama_sampler_init_min_p(p, 1))

    def add_temperature(self, temperature: float) -> None:
        """Divide logits by ``temperature``."""
        self._add(C.llama_sampler_init_temp(temperature))

    def add_draw(self, seed: int) -> None:
        """Choose at random by probability."""
        # The largest seed would be taken for "none given".
        self._add(C.llama_sampler_init_dist(seed % C.LLAMA_DEFAULT_SEED))

    def add_greedy(self) -> None:
        """Choose the likeliest."""
        self._add(C.llama_sampler_init_greedy())

    def select(self, candidates: Candidates) -> int:
        """The chosen token; cuts and reorders ``candidates``."""
        candidates.apply(self.ptr)
        return candidates.selected

    def accept(self, token: int) -> None:
        """Tell the chain which token was taken."""
        C.llama_sampler_accept(self.ptr, token)

    def _add(self, sampler: int) -> None:
        C.llama_sampler_chain_add(self.ptr, sampler)

    def _free(self, ptr: int) -> None:
        C.llama_sampler_free(ptr)


class GrammarSampler(Managed):
    """A GBNF grammar and how far the accepted tokens have come in it.

    Args:
        vocab: Whose tokens are judged.
        grammar: GBNF text with a rule ``root``.

    Raises:
        UsageError: the grammar is not usable.
    """

    def __init__(self, vocab: Vocab, grammar: str) -> None:
        self._vocab = vocab
        if not grammar.strip() or "\0" in grammar:
            raise UsageError("the grammar is empty or binary")
        take_error()
        with captured_stderr() as parser_lines:
            source = grammar.encode(errors="replace")
            self._ptr = C.llama_sampler_init_grammar(vocab.ptr, source, b"root")
        if not self._ptr:
            cause = parser_lines[0].split(": ", 2)[-1] if parser_lines else take_error()
            if cause and cause.endswith(" at "):  # the parser quotes the rest of the text
                cause += "its end"
            raise UsageError(f"the grammar is not usable: {cause}")

    def apply(self, candidates: Candidates) -> None:
        """Give tokens the grammar refuses a logit of -inf."""
        candidates.apply(self.ptr)

    def allows(self, token: int) -> bool:
        """Whether a token may come next; an end token may once the grammar is complete."""
        candidate = Candidates(1)
        candidate.rows["id"] = token
        candidate.apply(self.ptr)
        return bool(np.isfinite(candidate.rows["logit"][0]))

    def accept(self, token: int) -> None:
        """Advance by one token.

        Raises:
            ValueError: the grammar does not allow the token (llama.cpp would abort).
        """
        if not self.allows(token):
            raise ValueError(f"token {token} is not what the grammar allows")
        C.llama_sampler_accept(self.ptr, token)

    def _free(self, ptr: int) -> None:
        C.llama_sampler_free(ptr)


def find_end_ids(vocab: Vocab) -> frozenset[int]:
    """All tokens that llama.cpp takes for the end of an answer.

    They are what a complete grammar still allows: asked that way it is one C call that leaves
    other threads running, three times as fast as one call for each of 262,144 tokens.
    """
    candidates = Candidates(vocab.n_vocab)
    candidates.fill(np.zeros(vocab.n_vocab, np.float32))
    with GrammarSampler(vocab, 'root ::= ""') as complete:
        complete.apply(candidates)
    rows = candidates.rows
    return frozenset(rows["id"][np.isfinite(rows["logit"])].tolist())
