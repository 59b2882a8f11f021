"""A conversation with a model that is open in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from g3n_cli.chat.conversation import Conversation, Reply, Turn
from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.template import ChatTemplate, Message
from g3n_cli.engine.api import Engine, Progress
from g3n_cli.engine.generate import Generation
from g3n_cli.engine.prompt import Prompt
from g3n_cli.engine.sampler import make_sampler
from g3n_cli.errors import InputError


class Session(Conversation):
    """A conversation with a model that is open in this process.

    Args:
        engine: The open model; the caller closes it.
        options: How answers are made; may be replaced between answers.
        system: What the model is told before the conversation, or "".
        stop: Texts that end an answer.
        grammar: GBNF that answers follow, or None.
        template: Jinja source to use instead of the model's own, or None.
    """

    engine: Engine
    options: AnswerOptions

    def __init__(
        self,
        engine: Engine,
        options: AnswerOptions,
        system: str = "",
        stop: Sequence[str] = (),
        grammar: str | None = None,
        template: str | None = None,
    ) -> None:
        super().__init__(options, system)
        self.engine = engine
        self._stop = tuple(stop)
        self._grammar = grammar
        info = engine.info if template is None else replace(engine.info, chat_template=template)
        self._template = ChatTemplate(info, engine.tokenizer)

    @property
    def name(self) -> str:
        """What the person calls the model."""
        return self.engine.info.name

    @property
    def title(self) -> str:
        """The model, and its size where it has several."""
        info = self.engine.info
        return info.name if info.size == "full" else f"{info.name} {info.size}"

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
        return Reply(self, text, list(turns[n_dropped:]), n_dropped, generation, sampler.close)

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
            messages.append(Message("user", turn.user))
            messages.append(Message("assistant", turn.text, turn.ids))
        if text is not None:
            messages.append(Message("user", text))
        return self._template.encode(messages)
