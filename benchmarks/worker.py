"""One engine on one model in a process of its own; prints its raw samples as one JSON object.

Started by ``measure.run_case``, which passes the case as JSON in the only argument.
"""

from __future__ import annotations

import json
import random
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from g3n_cli.config import EngineSettings, KernelsName
from g3n_cli.engine.prompt import Prompt
from g3n_cli.engine.runner import Gemma3nEngine

FIRST_TEXT_ID, LAST_TEXT_ID = 494, 236_000
"""Gemma's ids between these are text: no control token, no byte, no rare character."""

EngineName = Literal["g3n", "llama.cpp"]


@dataclass(frozen=True)
class Case:
    """What one process measures.

    Attributes:
        engine: Who computes.
        model: GGUF file.
        n_threads: Threads, for prompts and for single tokens.
        n_ctx: Positions the context holds.
        n_prompt: Tokens of the first prompt; 0 leaves it out.
        n_decode: Single tokens decoded at each depth.
        n_four: Steps of four tokens after those.
        depth: Tokens of the conversation that the second part continues; 0 leaves it out.
        n_turn: Tokens of the turn that follows the conversation.
        seed: Of the token ids.
        kernels: Of g3n: "own", "ggml" or a variant.
        size: Of g3n: which of the nested models.
        prefill_size: Of g3n: which of them reads prompts, if not the same.
        llama_options: Arguments for ``llama_cpp.Llama`` beside its defaults.
    """

    engine: EngineName
    model: str
    n_threads: int
    n_ctx: int = 4096
    n_prompt: int = 512
    n_decode: int = 32
    n_four: int = 6
    depth: int = 2000
    n_turn: int = 30
    seed: int = 0
    kernels: KernelsName = "own"
    size: str = "full"
    prefill_size: str | None = None
    llama_options: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The form ``worker.py`` is started with."""
        return json.dumps(asdict(self))


@dataclass
class Samples:
    """Raw measurements of one process; seconds and bytes. README.md defines each."""

    import_s: float = 0.0
    load_s: float = 0.0
    ttft_s: float | None = None
    decode_s: list[float] = field(default_factory=list)
    four_s: list[float] = field(default_factory=list)
    conversation_s: float | None = None
    deep_decode_s: list[float] = field(default_factory=list)
    turn_s: float | None = None
    rss_bytes: int = 0
    peak_rss_bytes: int = 0


class Conversation(Protocol):
    """What is measured of an engine. Each call returns once the next token's logits are there."""

    n_vocab: int

    def restart(self) -> None:
        """Forget all tokens."""
        ...

    def append(self, ids: list[int]) -> None:
        """Compute ``ids`` after what is there, as a prompt."""
        ...

    def step(self, *tokens: int) -> None:
        """Compute one token, or some at once, after what is there, as generation does."""
        ...


class G3nConversation:
    """g3n's engine, which is given the whole conversation and reuses what it has computed."""

    def __init__(self, case: Case) -> None:
        from g3n_cli.engine.open import open_engine
        from g3n_cli.registry.models import read_sizes

        settings = EngineSettings(
            n_ctx=case.n_ctx,
            n_threads=case.n_threads,
            kernels=case.kernels,
            size=case.size,
            prefill_size=case.prefill_size,
            named_sizes=read_sizes(),
        )
        self._engine = open_engine(Path(case.model), Path(case.model).stem, settings)
        self._engine.tokenizer.encode("Hello")
        self._ids: list[int] = []
        self.n_vocab = self._engine.info.n_vocab

    @staticmethod
    def import_modules() -> None:
        """Import what the first request would, bar what the engine itself puts off."""
        import g3n_cli.engine.open  # noqa: F401

    def restart(self) -> None:
        """The next prompt begins with another token: nothing is reused."""
        self._ids = []

    def append(self, ids: list[int]) -> None:
        """Prefill the conversation and ``ids``."""
        self._ids += ids
        self._engine.prefill(Prompt.of_ids(self._ids))

    def step(self, *tokens: int) -> None:
        """Compute the tokens in one step."""
        self._ids += tokens
        if len(tokens) == 1:
            self._engine.decode(tokens[0])
        else:
            assert isinstance(self._engine, Gemma3nEngine)
            self._engine.step(Prompt.of_ids(tokens), [len(tokens) - 1])


class LlamaConversation:
    """llama-cpp-python's high-level class with its own defaults."""

    def __init__(self, case: Case) -> None:
        from llama_cpp import Llama

        self._llama = Llama(
            case.model,
            n_ctx=case.n_ctx,
            n_threads=case.n_threads,
            n_threads_batch=case.n_threads,
            verbose=False,
            **case.llama_options,
        )
        self._llama.tokenize(b"Hello")
        self.n_vocab = self._llama.n_vocab()

    @staticmethod
    def import_modules() -> None:
        """Import the package and with it the library."""
        import llama_cpp  # noqa: F401

    def restart(self) -> None:
        """The next evaluation starts at position 0."""
        self._llama.reset()  # type: ignore[no-untyped-call]

    def append(self, ids: list[int]) -> None:
        """Evaluate ``ids`` in batches of the default size."""
        from llama_cpp import llama_get_logits

        self._llama.eval(ids)
        # A copy, as g3n returns one; asking for logits also waits for the computation to end.
        np.ctypeslib.as_array(llama_get_logits(self._llama.ctx), (self.n_vocab,)).copy()

    def step(self, *tokens: int) -> None:
        """Evaluate the tokens as one batch."""
        self.append(list(tokens))


def measure(case: Case) -> Samples:
    """Run the case from import to last token."""
    samples = Samples()
    kind = G3nConversation if case.engine == "g3n" else LlamaConversation
    start = time.perf_counter()
    kind.import_modules()
    imported = time.perf_counter()
    conversation: Conversation = kind(case)
    samples.import_s, samples.load_s = imported - start, time.perf_counter() - imported

    rng = random.Random(case.seed)
    text_ids = range(FIRST_TEXT_ID, min(conversation.n_vocab, LAST_TEXT_ID))
    if case.n_prompt:
        samples.ttft_s = _time_append(conversation, rng.choices(text_ids, k=case.n_prompt))
        conversation.restart()
    conversation.append(rng.choices(text_ids))
    samples.decode_s = _time_steps(conversation, rng.choices(text_ids, k=case.n_decode))
    samples.four_s = _time_steps(conversation, rng.choices(text_ids, k=4 * case.n_four), at_once=4)
    if case.depth:
        conversation.restart()
        samples.conversation_s = _time_append(conversation, rng.choices(text_ids, k=case.depth))
        samples.deep_decode_s = _time_steps(conversation, rng.choices(text_ids, k=case.n_decode))
        samples.turn_s = _time_append(conversation, rng.choices(text_ids, k=case.n_turn))
    samples.rss_bytes, samples.peak_rss_bytes = read_memory(Path("/proc/self/status").read_text())
    return samples


def read_memory(status: str) -> tuple[int, int]:
    """Resident and peak resident bytes from the text of ``/proc/self/status``."""
    lines = dict(line.split(":", 1) for line in status.splitlines())
    rss, peak = (int(lines[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
    return rss, peak


def _time_append(conversation: Conversation, ids: list[int]) -> float:
    start = time.perf_counter()
    conversation.append(ids)
    return time.perf_counter() - start


def _time_steps(conversation: Conversation, ids: list[int], at_once: int = 1) -> list[float]:
    seconds = []
    for first in range(0, len(ids), at_once):
        start = time.perf_counter()
        conversation.step(*ids[first : first + at_once])
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(measure(Case(**json.loads(sys.argv[1]))))) + "\n")
