"""A conversation: what was said, and answers as they come."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.template import ChatTemplate, Message
from g3n_cli.engine.api import Engine, Progress
from g3n_cli.engine.generate import Generation, GenerationStats
from g3n_cli.engine.prompt import Prompt
from g3n_cli.engine.sampler import Sampler, make_sampler
from g3n_cli.errors import InputError, UsageError


@dataclass(frozen=True)
class Turn:
    """A message and its answer.

    Attributes:
        user: What the person said.
        text: What the model answered.
        ids: The answer's tokens as the model sampled them.
    """

    user: str
    text: str
    ids: tuple[int, ...]

    def messages(self) -> list[Message]:
        """The turn as the template takes it."""
        return [Message("user", self.user), Message("assistant", self.text, self.ids)]


class Session:
    """One conversation with one model.

    Args:
        engine: The open model; the caller closes it.
        options: How answers are made; may be replaced between answers.
        system: What the model is told before the conversation, or "".
        stop: Texts that end an answer.
        grammar: GBNF that answers follow, or None.

    Attributes:
        turns: What was said, oldest first.
        last_stats: Figures of the last answer, or None.
    """

    def __init__(
        self,
        engine: Engine,
        options: AnswerOptions,
        system: str = "",
        stop: Sequence[str] = (),
        grammar: str | None = None,
    ) -> None:
        self.engine = engine
        self.options = options
        self.system = system
        self.turns: list[Turn] = []
        self.last_stats: GenerationStats | None = None
        self._stop = tuple(stop)
        self._grammar = grammar
        self._attempt = 0
        self._template = ChatTemplate(engine.info, engine.tokenizer)

    def reply(self, text: str, on_progress: Progress | None = None) -> Reply:
        """Answer a message.

        Raises:
            InputError: the message alone does not fit the context.
        """
        self._attempt = 0
        return self._answer(self.turns, text, on_progress)

    def regenerate(self, on_progress: Progress | None = None) -> Reply:
        """Answer the last message again; the new answer takes the place of the old one.

        Raises:
            UsageError: nothing was said yet.
        """
        if not self.turns:
            raise UsageError("nothing was said yet")
        self._attempt += 1
        return self._answer(self.turns[:-1], self.turns[-1].user, on_progress)

    def undo(self) -> str:
        """Forget the last turn and return its message.

        Raises:
            UsageError: nothing was said yet.
        """
        if not self.turns:
            raise UsageError("nothing was said yet")
        return self.turns.pop().user

    def clear(self) -> None:
        """Forget all turns; the system text stays."""
        self.turns.clear()

    def count_used(self) -> int:
        """Positions that the conversation takes, markup up to the next message included."""
        used = len(self._encode(self.turns)) if self.turns else 0
        return min(used, self.engine.n_ctx)

    def _answer(self, turns: Sequence[Turn], text: str, on_progress: Progress | None) -> Reply:
        started = time.perf_counter()
        ids, n_dropped = self._fit(turns, text)
        sampler = make_sampler(
            self.engine, self.options.make_sampling(self._attempt), self._grammar
        )
        generation = Generation(
            self.engine,
            Prompt.of_ids(ids),
            sampler,
            self.options.max_tokens,
            stop=self._stop,
            on_progress=on_progress,
            started=started,
        )
        return Reply(self, text, list(turns[n_dropped:]), n_dropped, sampler, generation)

    def _fit(self, turns: Sequence[Turn], text: str) -> tuple[list[int], int]:
        """Ids of the next prompt, and how many of the oldest turns have no room beside it.

        Once the context is full, half of it is freed at a stroke: if one turn made way for each
        message, all the others would be computed anew each time.
        """
        n_ctx = self.engine.n_ctx
        limit = n_ctx - max(1, min(self.options.max_tokens or n_ctx, n_ctx // 4))
        n_dropped = 0
        ids = self._encode(turns, text)
        while len(ids) > limit and n_dropped < len(turns):
            limit = n_ctx // 2
            n_dropped += 1
            ids = self._encode(turns[n_dropped:], text)
        if len(ids) >= n_ctx:
            raise InputError(
                f"the prompt has {len(ids):,} tokens, but the context holds {n_ctx:,}",
                hint=f"--ctx {len(ids) + n_ctx // 4} leaves room for it and an answer",
            )
        return ids, n_dropped

    def _encode(self, turns: Sequence[Turn], text: str | None = None) -> list[int]:
        messages = [Message("system", self.system)] if self.system else []
        for turn in turns:
            messages += turn.messages()
        if text is not None:
            messages.append(Message("user", text))
        return self._template.encode(messages)


@dataclass
class Reply:
    """An answer as it comes: iterate for its pieces of text, once.

    However the iteration ends, by itself, by an interruption, or because the caller goes away,
    what was said by then becomes part of the conversation; of an answer without a single token
    nothing does.

    Attributes:
        n_dropped: How many of the oldest turns are forgotten to make room.
    """

    _session: Session
    _user: str
    _turns: list[Turn]
    n_dropped: int
    _sampler: Sampler
    _generation: Generation

    @property
    def text(self) -> str:
        """What was said so far."""
        return self._generation.text

    @property
    def stats(self) -> GenerationStats:
        """Figures of the answer so far."""
        return self._generation.stats

    def __iter__(self) -> Generator[str]:
        """Pieces of the answer."""
        try:
            yield from self._generation
        finally:
            self._sampler.close()
            self._session.last_stats = self.stats
            if ids := tuple(self._generation.ids):
                self._session.turns = [*self._turns, Turn(self._user, self.text, ids)]
