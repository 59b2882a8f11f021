"""The next token, chosen from logits."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from g3n_cli.engine.api import Engine, Logits
from g3n_cli.engine.hparams import ARCHITECTURE
from g3n_cli.engine.sampling import Greedy, Sampling
from g3n_cli.engine.tokenizer import LlamaTokenizer
from g3n_cli.engine.validate import N_TEXT_TOKENS
from g3n_cli.errors import G3nError, UsageError
from g3n_cli.ggml.llama import Vocab
from g3n_cli.ggml.llama_sampler import Candidates, GrammarSampler, SamplerChain

PENALTY_WINDOW = 64
"""Tokens a repeat penalty looks back on, the end of the prompt included."""


class Sampler:
    """Chooses the tokens of one answer. Make a new one for each answer and close it.

    Filters apply in llama.cpp's order: penalty, top-k, top-p, min-p, temperature, draw.

    Args:
        sampling: How to choose.
        vocab: Vocabulary that ``grammar`` is about; needed for a grammar only.
        grammar: GBNF text the answer must follow, or None.
        n_sampled: Tokens from this id up are never chosen; None allows all.
        end_ids: Tokens that end an answer under a grammar; None leaves that to llama.cpp.

    Raises:
        UsageError: the grammar is not usable.
    """

    def __init__(
        self,
        sampling: Sampling,
        vocab: Vocab | None = None,
        grammar: str | None = None,
        n_sampled: int | None = None,
        end_ids: frozenset[int] | None = None,
    ) -> None:
        self._n_sampled = n_sampled
        self._vocab, self._end_ids = vocab, end_ids
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._candidates: Candidates | None = None
        self._grammar: GrammarSampler | None = None
        if grammar is not None:
            assert vocab is not None
            # The grammar may only be asked about tokens that exist.
            self._n_sampled = min(n_sampled or vocab.n_vocab, vocab.n_vocab)
            self._grammar = GrammarSampler(vocab, grammar)
        self._chain = _make_chain(sampling)

    def sample(self, logits: Logits) -> int:
        """The next token.

        Args:
            logits: [n_vocab], not changed.

        Raises:
            G3nError: the logits are not numbers, or no token fits the grammar.
        """
        logits = logits[: self._n_sampled]
        best = int(logits.argmax())  # finds a NaN, too
        if not np.isfinite(logits[best]):
            raise G3nError("the model computed logits that are not numbers")
        token = best if self._chain is None else self._draw(logits, self._chain)
        if self._grammar is None or (self._grammar.allows(token) and self._is_sound(token)):
            return token
        return self._sample_within(self._grammar, logits)

    def accept(self, token: int) -> None:
        """Take note of a token that became part of the answer; not of an end token."""
        if self._chain is not None:
            self._chain.accept(token)
        if self._grammar is not None:
            assert self._vocab is not None
            self._grammar.accept(token)
            self._utf8.decode(self._vocab.piece(token, special=False))

    def accept_prompt(self, ids: Sequence[int]) -> None:
        """Take note of the prompt's last tokens, which a repeat penalty counts as well."""
        if self._chain is not None:
            for token in ids[-PENALTY_WINDOW:]:
                self._chain.accept(int(token))

    def close(self) -> None:
        """Free the samplers. Closing twice is harmless."""
        for part in (self._chain, self._grammar):
            if part is not None:
                part.close()

    def _draw(self, logits: Logits, chain: SamplerChain) -> int:
        return chain.select(self._fill(logits))

    def _sample_within(self, grammar: GrammarSampler, logits: Logits) -> int:
        """Choose among the tokens the grammar allows: slow, as each token is checked."""
        logits = logits.copy()
        while True:
            candidates = self._fill(logits)
            grammar.apply(candidates)
            allowed: npt.NDArray[np.float32] = candidates.rows["logit"]
            best = int(allowed.argmax())
            if not np.isfinite(allowed[best]):
                raise G3nError("no token of the model fits the grammar")
            token = best if self._chain is None else self._chain.select(candidates)
            if self._is_sound(token):
                return token
            logits[token] = -np.inf

    def _is_sound(self, token: int) -> bool:
        """Whether a token is right where a grammar allows it.

        llama.cpp takes some bytes that are no UTF-8 for characters, and the ends of other models'
        answers for the end of this one's.
        """
        assert self._vocab is not None
        if self._end_ids is not None and self._vocab.is_control(token):
            return token in self._end_ids
        state = self._utf8.getstate()
        try:
            self._utf8.decode(self._vocab.piece(token, special=False))
        except UnicodeDecodeError:
            return False
        finally:
            self._utf8.setstate(state)
        return True

    def _fill(self, logits: Logits) -> Candidates:
        if self._candidates is None:
            self._candidates = Candidates(len(logits))
        self._candidates.fill(logits)
        return self._candidates


def make_sampler(engine: Engine, sampling: Sampling, grammar: str | None = None) -> Sampler:
    """A sampler for the next answer of ``engine``; close it after that.

    Raises:
        UsageError: the grammar is not usable, or the engine cannot follow one.
    """
    tokenizer = engine.tokenizer
    vocab = tokenizer.vocab if isinstance(tokenizer, LlamaTokenizer) else None
    if grammar is not None and vocab is None:
        raise UsageError(f"{engine.info.name} cannot follow a grammar")
    n_sampled = N_TEXT_TOKENS if engine.info.architecture == ARCHITECTURE else None
    return Sampler(sampling, vocab, grammar, n_sampled, engine.info.end_ids)


def _make_chain(sampling: Sampling) -> SamplerChain | None:
    """llama.cpp's samplers for a setting; None where the likeliest token is the answer."""
    if sampling == Greedy():
        return None
    chain = SamplerChain()
    if sampling.repeat_penalty != 1.0:
        chain.add_penalties(PENALTY_WINDOW, sampling.repeat_penalty)
    if isinstance(sampling, Greedy):
        chain.add_greedy()
        return chain
    if sampling.top_k > 0:
        chain.add_top_k(sampling.top_k)
    if sampling.top_p < 1.0:
        chain.add_top_p(sampling.top_p)
    if sampling.min_p > 0.0:
        chain.add_min_p(sampling.min_p)
    chain.add_temperature(sampling.temperature)
    chain.add_draw(sampling.seed)
    return chain
