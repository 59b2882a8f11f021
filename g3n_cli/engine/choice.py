"""One of several texts as the answer, by the probability that the model gives to each whole one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from g3n_cli.engine.api import Engine, Logits, Prefill, Progress
from g3n_cli.engine.hparams import ARCHITECTURE
from g3n_cli.engine.prompt import Prompt
from g3n_cli.engine.stats import GenerationStats, StopReason
from g3n_cli.engine.validate import N_TEXT_TOKENS
from g3n_cli.errors import G3nError, InputError

_Logs: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Choices:
    """Texts of which an answer is one.

    Attributes:
        texts: All different, none empty.
        temperature: 0 takes the likeliest; else one is drawn by probability ** (1 / temperature).
        seed: Makes the draw repeatable.
    """

    texts: tuple[str, ...]
    temperature: float = 0
    seed: int = 0


@dataclass(frozen=True)
class ScoredChoice:
    """A text and what the model thinks of it as an answer.

    Attributes:
        text: The text.
        logprob: Natural logarithm of the probability that the model answers exactly this and then
            ends its turn, over all that it could say; in the tokens that its tokenizer makes.
        probability: The same among the choices alone; they add up to 1.
    """

    text: str
    logprob: float
    probability: float


class ChoiceAnswer:
    """An answer that is one of several texts. Implements ``g3n_cli.chat.conversation.Answer``.

    Nothing is computed before the first piece is asked for. The prompt is read once, then each
    choice's tokens; what choices begin with alike is computed once.

    Args:
        engine: Whose context becomes the prompt and one of the choices.
        prompt: What to answer.
        choices: The texts.
        on_progress: Told how far the prompt is read.
        started: ``time.perf_counter`` when the wait for the answer began.
        prefill: Reads the prompt in the engine's stead, or None.

    Attributes:
        ids: Tokens of the answer.
        text: The answer, once it is known.
        ranking: All choices in the order given, once they are known.
    """

    def __init__(
        self,
        engine: Engine,
        prompt: Prompt,
        choices: Choices,
        on_progress: Progress | None,
        started: float,
        prefill: Prefill | None = None,
    ) -> None:
        self.ids: tuple[int, ...] = ()
        self.text = ""
        self.ranking: tuple[ScoredChoice, ...] = ()
        self._engine, self._prompt, self._choices = engine, prompt, choices
        self._on_progress, self._started = on_progress, started
        self._read_prompt = prefill or engine.prefill
        self._reused = 0
        self._prefill_s: float | None = None
        self._answer_s: float | None = None

    def __iter__(self) -> Iterator[str]:
        """The answer, in one piece.

        Raises:
            InputError: the context has no room for prompt and choices.
            G3nError: the logits are not numbers.
        """
        paths = [
            tuple(self._engine.tokenizer.encode(text, parse_special=False))
            for text in self._choices.texts
        ]
        longest = len(self._prompt) + max(map(len, paths))
        if longest > self._engine.n_ctx:
            raise InputError(
                f"prompt and choices have {longest:,} tokens, but the context holds"
                f" {self._engine.n_ctx:,}",
                hint=f"--ctx {longest} leaves room for them",
            )
        logprobs = np.array(self._score(paths))
        shares = _softmax(logprobs)
        self.ranking = tuple(
            ScoredChoice(text, float(logprob), float(share))
            for text, logprob, share in zip(self._choices.texts, logprobs, shares, strict=True)
        )
        best = self._choose(logprobs)
        self._answer_s = time.perf_counter() - self._started
        self.ids, self.text = paths[best], self._choices.texts[best]
        yield self.text

    @property
    def stats(self) -> GenerationStats:
        """Figures so far; ``ttft_s`` is the whole answer's, which comes at once."""
        computed = len(self._prompt) - self._reused
        reason: StopReason = "interrupted" if self._answer_s is None else "end"
        return GenerationStats(
            prompt_tokens=len(self._prompt),
            reused_tokens=self._reused,
            output_tokens=len(self.ids),
            ttft_s=self._answer_s,
            prefill_tps=computed / self._prefill_s if self._prefill_s else None,
            decode_tps=None,
            stop_reason=reason,
            prefill_s=self._prefill_s,
        )

    def _choose(self, logprobs: _Logs) -> int:
        """The index of the answer."""
        if self._choices.temperature == 0:
            return int(logprobs.argmax())
        shares = _softmax(logprobs / self._choices.temperature)
        return int(np.random.default_rng(self._choices.seed).choice(len(shares), p=shares))

    def _score(self, paths: Sequence[tuple[int, ...]]) -> list[float]:
        """Log-probability of each path from the end of the prompt to the end of the turn."""
        begins = sorted({path[:n] for path in paths for n in range(len(path) + 1)})
        longer: dict[tuple[int, ...], list[tuple[int, ...]]] = {begin: [] for begin in begins}
        for begin in begins[1:]:
            longer[begin[:-1]].append(begin)
        steps: dict[tuple[int, ...], float] = {(): 0.0}
        ends: dict[tuple[int, ...], float] = {}
        whole, n_tokens = set(paths), self._count_tokens()
        for begin in begins:  # in the order of a tree: each a token after one that is there
            logits = self._read(begin)[:n_tokens].astype(np.float64)
            total = _add_logs(logits)
            if not np.isfinite(total):
                raise G3nError("the model computed logits that are not numbers")
            for path in longer[begin]:
                steps[path] = steps[begin] + float(logits[path[-1]] - total)
            if begin in whole:
                ends[begin] = float(_add_logs(logits[sorted(self._engine.info.end_ids)]) - total)
        return [steps[path] + ends[path] for path in paths]

    def _read(self, begin: tuple[int, ...]) -> Logits:
        """Logits after the prompt and the beginning of a choice."""
        if not begin:
            started = time.perf_counter()
            logits = self._read_prompt(self._prompt, self._note_progress)
            self._prefill_s = time.perf_counter() - started
            return logits
        prompt, ids = self._prompt, np.asarray(begin, np.int32)
        return self._engine.prefill(
            Prompt(
                (*prompt.keys, *begin),
                np.concatenate([prompt.ids, ids]),
                np.concatenate([prompt.ple_ids, ids]),
                prompt.rows,
            )
        )

    def _note_progress(self, done: int, total: int) -> None:
        self._reused = len(self._prompt) - total
        if self._on_progress is not None:
            self._on_progress(done, total)

    def _count_tokens(self) -> int | None:
        """Tokens that an answer may have; the others' probability counts for nothing."""
        return N_TEXT_TOKENS if self._engine.info.architecture == ARCHITECTURE else None


def _add_logs(
    logs: _Logs,
) -> np.float64:
    """Logarithm of the sum of the exponentials."""
    most = logs.max()
    return np.float64(most + np.log(np.exp(logs - most).sum()))


def _softmax(
    logs: _Logs,
) -> _Logs:
    shares = np.exp(logs - _add_logs(logs))
    normalized: _Logs = shares / shares.sum()
    return normalized
