"""An answer as a stream of text: prefill, then sample and decode until something ends it."""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterator, Sequence

from g3n_cli.engine.api import Engine, Logits, Prefill, Progress
from g3n_cli.engine.prompt import NO_TOKEN, Prompt
from g3n_cli.engine.sampler import Sampler
from g3n_cli.engine.speculate import Speculation
from g3n_cli.engine.stats import GenerationStats, StopReason


class Generation(Iterator[str]):
    """Iterator over the pieces of an answer, each one valid text and none empty.

    Nothing is computed before the first piece is asked for, and no token is decoded that nobody
    needs: after the end the last token of ``ids`` may be missing from the engine's context, or
    guesses may follow it there.

    Args:
        engine: Whose context becomes the prompt and the answer.
        prompt: What to answer.
        sampler: A fresh one; its owner closes it.
        max_tokens: Length limit, None for none.
        stop: The answer ends before the first of these texts.
        on_progress: Told how far the prefill is.
        started: ``time.perf_counter`` when the wait for the answer began; None for now.
        keeps_prompt: Let the engine come back to the prompt's end however long the answer is.
        prefill: Reads the prompt in the engine's stead, or None.

    Attributes:
        ids: Tokens of the answer, without the one that ended it.
        text: What has been handed out so far.
    """

    def __init__(  # noqa: PLR0913  one answer has these six inputs and a clock
        self,
        engine: Engine,
        prompt: Prompt,
        sampler: Sampler,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        on_progress: Progress | None = None,
        started: float | None = None,
        *,
        keeps_prompt: bool = False,
        prefill: Prefill | None = None,
    ) -> None:
        self.ids: list[int] = []
        self.text = ""
        self._engine = engine
        self._prompt = prompt
        self._sampler = sampler
        self._max_tokens = max_tokens
        self._stop = _StopFilter(stop)
        self._on_progress = on_progress
        self._keeps_prompt = keeps_prompt
        self._read = prefill or engine.prefill
        self._started = time.perf_counter() if started is None else started
        self._reused = 0
        self._prefill_s: float | None = None
        self._speculation: Speculation | None = None
        self._first_token: float | None = None
        self._last_token: float | None = None
        self._stop_reason: StopReason = "interrupted"  # until another one is known
        self._pieces = self._generate()

    def __next__(self) -> str:
        piece = next(self._pieces)
        self.text += piece
        return piece

    @property
    def stats(self) -> GenerationStats:
        """Figures so far."""
        computed, ahead = len(self._prompt) - self._reused, self._speculation
        first, last, n = self._first_token, self._last_token, len(self.ids)
        return GenerationStats(
            prompt_tokens=len(self._prompt),
            reused_tokens=self._reused,
            output_tokens=n,
            ttft_s=None if first is None else first - self._started,
            prefill_tps=computed / self._prefill_s if self._prefill_s else None,
            decode_tps=(n - 1) / (last - first) if n > 1 and first and last else None,
            stop_reason=self._stop_reason,
            prefill_s=self._prefill_s,
            draft_tokens=ahead.n_guessed if ahead else 0,
            draft_accepted=ahead.n_right if ahead else 0,
        )

    def _generate(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for token in self._sample_tokens():
            text = decoder.decode(self._engine.tokenizer.piece(token))
            if piece := self._stop.feed(text):
                yield piece
            if self._stop.found:
                self._stop_reason = "stop"
                return
        if piece := self._stop.feed(decoder.decode(b"", final=True)) + self._stop.flush():
            yield piece

    def _sample_tokens(self) -> Iterator[int]:
        """Tokens of the answer up to its end, each decoded only when the next one is wanted."""
        said = [i for i in self._prompt.ids.tolist() if i != NO_TOKEN]
        self._sampler.accept_prompt(said)
        logits = self._prefill()
        ahead = self._speculation = Speculation(self._engine, said)
        while self._max_tokens is None or len(self.ids) < self._max_tokens:
            if self.ids:
                if ahead.is_full:
                    self._stop_reason = "context"
                    return
                logits = ahead.decode(self.ids[-1])
            token = self._sampler.sample(logits)
            now = time.perf_counter()
            self._first_token = self._first_token or now
            if token in self._engine.info.end_ids:
                self._stop_reason = "end"
                return
            self._last_token = now
            self._sampler.accept(token)
            self.ids.append(token)
            yield token
        self._stop_reason = "length"

    def _prefill(self) -> Logits:
        start = time.perf_counter()
        if self._keeps_prompt and len(self._prompt) > 1:
            # An engine can come back to where a prefill has begun: to the prompt's last position.
            self._read(self._prompt.slice(0, len(self._prompt) - 1), self._note_progress)
            self._reused -= 1  # counted from the whole prompt's length
            logits = self._engine.prefill(self._prompt)
        else:
            logits = self._read(self._prompt, self._note_progress)
        self._prefill_s = time.perf_counter() - start
        return logits

    def _note_progress(self, done: int, total: int) -> None:
        """Positions an engine does not mean to compute are those it reuses."""
        self._reused = len(self._prompt) - total
        if self._on_progress is not None:
            self._on_progress(done, total)


class _StopFilter:
    """Holds back what may be the beginning of a stop text."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        """What of the text so far is certain to be part of the answer."""
        text = self._held + text
        starts = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        self.found = bool(starts)
        n_held = max((_count_begun(text, stop) for stop in self._stops), default=0)
        cut = min(starts) if starts else len(text) - n_held
        self._held = text[cut:]
        return text[:cut]

    def flush(self) -> str:
        """What was held back and turned out not to be a stop text; nothing once one is found."""
        return "" if self.found else self._held


def _count_begun(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that begins ``stop``."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
