"""A conversation with a model that is open in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from g3n_cli.chat.beginning import BeginningReader
from g3n_cli.chat.conversation import LEAST_KEPT, Conversation, Question, Reply, Turn
from g3n_cli.chat.media import Layout, MediaStore, OnEncode
from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.prefix import PrefixedAnswer
from g3n_cli.chat.shared_prefix import UNLIKE_TEXTS, find_common
from g3n_cli.chat.template import ChatTemplate, Message
from g3n_cli.engine.api import Engine, Prefill, Progress
from g3n_cli.engine.choice import ChoiceAnswer, Choices
from g3n_cli.engine.encoders.open import Projector
from g3n_cli.engine.generate import Generation
from g3n_cli.engine.sampler import make_sampler
from g3n_cli.errors import PromptTooLongError
from g3n_cli.media.parts import Attachment, MediumKind, MediumPart

N_AROUND = 3
"""Tokens around a medium and its end: blank lines, and the one that begins it."""


class Session(Conversation):
    """A conversation with a model that is open in this process.

    Args:
        engine: The open model; the caller closes it.
        options: How answers are made; may be replaced between answers.
        system: What the model is told before the conversation, or "".
        stop: Texts that end an answer.
        grammar: GBNF that answers follow, or None.
        media: Encodes pictures and sounds; without it they are refused. The caller closes it.
        template: Jinja source to use instead of the model's own, or None.
        prefix: What each answer begins with, or "".
        forgets: Whether the oldest turns make room, or what does not fit is refused.

    Attributes:
        grammar: As given; may be replaced between answers.
        choices: Texts of which the next answers are one, or None.
        last_choice: The last answer that was one of such texts, or None.
        prefill: Reads prompts in the engine's stead, or None.
    """

    engine: Engine
    options: AnswerOptions

    def __init__(  # noqa: PLR0913  one conversation has these inputs
        self,
        engine: Engine,
        options: AnswerOptions,
        system: str = "",
        stop: Sequence[str] = (),
        grammar: str | None = None,
        media: MediaStore | None = None,
        template: str | None = None,
        prefix: str = "",
        *,
        forgets: bool = True,
    ) -> None:
        super().__init__(options, system)
        self.engine = engine
        self._stop = tuple(stop)
        self._forgets = forgets
        self.grammar = grammar
        self.choices: Choices | None = None
        self.last_choice: ChoiceAnswer | None = None
        self.prefill: Prefill | None = None
        self._prefix = prefix
        self._prefix_ids = tuple(engine.tokenizer.encode(prefix, parse_special=False))
        self._beginning: tuple[str, list[int]] = ("", [])  # of which system text
        self._media = media or MediaStore(engine.info, Projector(None, 1).open)
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

    def read_beginning(self, question: Question) -> tuple[int, ...]:
        """Ids of a conversation that begins with ``question``, up to its first medium."""
        first = self._lay_out([], question)[0]
        return first if isinstance(first, tuple) else ()

    def count_used(self) -> int:
        """Positions that the conversation takes, markup up to the next message included."""
        used = self._count(self._lay_out(self.turns)) if self.turns else 0
        return min(used, self.engine.n_ctx)

    def count_cost(self, attachment: Attachment) -> int:
        """Positions that a file takes, at most."""
        count = 0
        for part in attachment.parts:
            if isinstance(part, MediumPart):
                count += self._media.count(part) + N_AROUND
            else:
                count += len(self.engine.tokenizer.encode(part.text, parse_special=False))
        return count

    def can_read(self, kind: MediumKind) -> bool:
        """Whether there is an encoder for it that suits the model."""
        return self._media.can_encode(kind)

    def _answer(
        self,
        turns: Sequence[Turn],
        question: Question,
        on_progress: Progress | None,
        on_encode: OnEncode | None,
    ) -> Reply:
        started = time.perf_counter()
        layout, n_dropped = self._fit(turns, question)
        media = [piece for piece in layout if isinstance(piece, MediumPart)]
        encode_s = self._media.encode(media, on_encode)
        self._media.keep_only(self._list_media(question))
        reader = None
        if self.recorder.keeps_computed:
            reader = BeginningReader(self.engine, self.recorder, self.find_beginning())
        prefill = reader.prefill if reader else self.prefill
        if self.choices is not None:
            prompt = self._media.build_prompt(layout)
            choice = ChoiceAnswer(self.engine, prompt, self.choices, on_progress, started, prefill)
            self.last_choice = choice
            said, seconds = list(turns[n_dropped:]), encode_s if question.media else None
            return Reply(self, question, said, n_dropped, choice, _keep_open, seconds, reader)
        sampler = make_sampler(self.engine, self.options.make_sampling(self.attempt), self.grammar)
        generation = Generation(
            self.engine,
            self._media.build_prompt(layout),
            sampler,
            self.options.max_tokens,
            stop=self._stop,
            on_progress=on_progress,
            started=started,
            keeps_prompt=self.n_wanted > 1 and not self.is_again,
            prefill=prefill,
        )
        return Reply(
            self,
            question,
            list(turns[n_dropped:]),
            n_dropped,
            PrefixedAnswer(self._prefix, self._prefix_ids, generation)
            if self._prefix
            else generation,
            sampler.close,
            encode_s if question.media else None,
            reader,
        )

    def find_beginning(self) -> list[int]:
        """Ids that all conversations with this system text begin with; none of a short one."""
        if len(self.system.encode()) < LEAST_KEPT:  # no token has less than a byte
            return []
        if self._beginning[0] != self.system:
            prompts = [self._lay_out([], Question(text))[0] for text in UNLIKE_TEXTS]
            ids = find_common([ids for ids in prompts if isinstance(ids, tuple)])
            self._beginning = self.system, ids
        return self._beginning[1]

    def _list_media(self, question: Question) -> list[MediumPart]:
        """Media that may be asked for again: those of all turns, and of the question."""
        questions = [*(turn.question for turn in self.turns), question]
        return [part for asked in questions for part in asked.media]

    def _fit(self, turns: Sequence[Turn], question: Question) -> tuple[Layout, int]:
        """The next prompt, and how many of the oldest turns have no room beside it.

        Once the context is full, half of it is freed at a stroke: if one turn made way for each
        message, all the others would be computed anew each time.
        """
        n_ctx = self.engine.n_ctx
        limit = n_ctx - max(1, min(self.options.max_tokens or n_ctx, n_ctx // 4))
        n_dropped = 0
        layout = self._lay_out(turns, question)
        most_dropped = len(turns) if self._forgets else 0
        while self._count(layout) > limit and n_dropped < most_dropped:
            limit = n_ctx // 2
            n_dropped += 1
            layout = self._lay_out(turns[n_dropped:], question)
        if (n_tokens := self._count(layout)) >= n_ctx:
            costs = [f"{a.name} {self.count_cost(a):,}" for a in question.attachments]
            of_files = f" ({', '.join(costs)})" if costs else ""
            raise PromptTooLongError(
                f"the prompt has {n_tokens:,} tokens{of_files}, but the context holds {n_ctx:,}",
                hint=self._find_room(n_tokens),
            )
        return layout, n_dropped

    def _find_room(self, n_tokens: int) -> str:
        """What to do about a prompt that is too long."""
        most = self.engine.info.n_ctx_train
        if n_tokens >= most:
            return f"this model reads at most {most:,} tokens: send less, or use another model"
        wanted = min(n_tokens + self.engine.n_ctx // 4, most)
        return f"--ctx {wanted} leaves room for it and an answer"

    def _count(self, layout: Layout) -> int:
        return sum(
            len(piece) if isinstance(piece, tuple) else self._media.count(piece) for piece in layout
        )

    def _lay_out(self, turns: Sequence[Turn], question: Question | None = None) -> Layout:
        messages = [Message("system", self.system)] if self.system else []
        for turn in turns:
            messages.append(Message("user", turn.user, None, turn.question.parts))
            messages.append(Message("assistant", turn.text, turn.ids or None))
        if question is not None:
            messages.append(Message("user", question.text, None, question.parts))
        layout = self._template.lay_out(messages)
        if question is not None and self._prefix_ids:
            layout = self._begin_answer(layout)
        return layout

    def _begin_answer(self, layout: Layout) -> Layout:
        """The layout with the answer's given beginning behind it."""
        *before, markup = layout
        assert isinstance(markup, tuple)
        return [*before, markup + self._prefix_ids]


def _keep_open() -> None:
    """Nothing has to be closed after a choice."""
