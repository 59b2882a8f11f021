"""An engine without a model: it reads bytes and answers what it was told to."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from g3n_cli.engine.api import Logits, ModelInfo, Progress, SizeInfo
from g3n_cli.engine.prompt import Key, Prompt, count_common
from g3n_cli.errors import InputError, UsageError

BOS, END, CONTROL = 256, 257, 258
N_VOCAB = 259


class ByteTokenizer:
    """Token i is byte i; three control tokens follow."""

    bos_id: int | None = BOS
    eos_id: int | None = END

    def encode(self, text: str, *, add_bos: bool = False, parse_special: bool = True) -> list[int]:
        assert parse_special, "there is no markup to leave alone"
        return [BOS] * add_bos + list(text.encode())

    def piece(self, token: int, *, special: bool = False) -> bytes:
        if token >= BOS:
            return b"<control>" if special else b""
        return bytes([token])


class FakeEngine:
    """Gives the scripted answers in turn, one for each prefill, each followed by END.

    Args:
        answers: Text, bytes or token ids.
        n_ctx: Positions the context holds.
        n_batch: Positions of a progress report.
        errors: Raised instead of the n-th decode of an answer, counted from 0.
    """

    def __init__(
        self,
        *answers: str | bytes | Sequence[int],
        n_ctx: int = 4096,
        n_batch: int = 8,
        errors: dict[int, BaseException] | None = None,
    ) -> None:
        self.info = ModelInfo(
            name="scripted",
            path=Path("scripted.gguf"),
            architecture="scripted",
            size="full",
            n_vocab=N_VOCAB,
            n_ctx_train=n_ctx,
            chat_template=None,
            end_ids=frozenset({END}),
        )
        self.tokenizer = ByteTokenizer()
        self.state_identity: str | None = "scripted"
        self.n_ctx = n_ctx
        self.keys: list[Key] = []
        self.prompts: list[Prompt] = []
        self.decoded: list[int] = []
        self.closed = False
        self.n_speculate = 0
        self._n_batch = n_batch
        self._errors = errors or {}
        self._answers = iter(answers)
        self._script: list[int] = []

    @property
    def sizes(self):
        return (
            SizeInfo("full", 2_000_000_000, 8000, 30, 8000),
            SizeInfo("small", 1_000_000_000, 4000, 30, 4000),
        )

    def resize(self, name, *, recompute=False, on_progress=None):
        if name not in [size.name for size in self.sizes]:
            raise UsageError(f"no size is called {name!r}")
        self.info = replace(self.info, size=name)
        if recompute:
            self.keys.clear()
        if on_progress:
            on_progress(1, 1)

    def trim(self, n_past):
        del self.decoded[max(0, len(self.decoded) - max(0, self.n_past - n_past)) :]
        del self.keys[n_past:]

    def save_state(self, path, beginning=None):
        del beginning
        path.write_text(json.dumps(self.keys))
        return path.stat().st_size

    def load_state(self, path):
        self.keys = json.loads(path.read_text())
        return len(self.keys)

    def count_parked_bytes(self):
        return 0

    def park(self):
        return None

    def count_left(self, n_past):
        return min(n_past, self.n_past)

    def count_computed(self, prompt):
        return count_common(self.keys, prompt.keys)

    @property
    def n_past(self) -> int:
        return len(self.keys)

    def prefill(self, prompt: Prompt, on_progress: Progress | None = None) -> Logits:
        n = len(prompt)
        if not 0 < n <= self.n_ctx:
            raise InputError(f"a prompt of {n} tokens does not fit in {self.n_ctx}")
        reused = min(count_common(self.keys, prompt.keys), n - 1)
        self.prompts.append(prompt)
        if on_progress is not None:
            for done in [*range(0, n - reused, self._n_batch), n - reused]:
                on_progress(done, n - reused)
        self.keys = list(prompt.keys)
        answer = next(self._answers)
        self._script = [*(answer.encode() if isinstance(answer, str) else answer), END]
        self.decoded = []
        return self._logits()

    def decode(self, token: int) -> Logits:
        if self.n_past == self.n_ctx:
            raise InputError("the context is full")
        if (error := self._errors.get(len(self.decoded))) is not None:
            raise error
        self.keys.append(token)
        self.decoded.append(token)
        return self._logits()

    def extend(self, tokens):
        return np.stack([self.decode(token) for token in tokens])

    def close(self) -> None:
        self.closed = True

    def _logits(self) -> Logits:
        logits = np.zeros(N_VOCAB, np.float32)
        rest = self._script[len(self.decoded) :]
        logits[rest[0] if rest else END] = 1.0
        return logits
