"""One prompt over many inputs: an answer for each, in a conversation of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from g3n_cli.chat.constrain import Constraint, constrain, read_figures
from g3n_cli.chat.conversation import Conversation, Question
from g3n_cli.chat.inputs import AskedInput, FileInput, Form, make_question
from g3n_cli.engine.stats import GenerationStats
from g3n_cli.errors import AnswerError, ContextFullError, InputError
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.parts import Attachment, MediumPart, Part, TextPart

if TYPE_CHECKING:  # a server needs no engine
    from g3n_cli.chat.session import Session
    from g3n_cli.chat.shared_prefix import SharedPrefix


@dataclass(frozen=True)
class Answered:
    """What was said to an input.

    Attributes:
        asked: The input.
        text: The answer.
        stats: Its figures.
        seed: What it was drawn with; None if a server chose.
        figures: Of an answer that has to be something: see ``constrain.read_figures``.
    """

    asked: AskedInput
    text: str
    stats: GenerationStats
    seed: int | None
    figures: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """Why there is no answer to an input.

    Attributes:
        asked: The input.
        error: One line.
        hint: What can be done about it, or None.
    """

    asked: AskedInput
    error: str
    hint: str | None = None


Result: TypeAlias = Answered | Failed


class Mapper:
    """Asks about one input after the other.

    Args:
        conversation: Who answers; begun anew for each input.
        form: The prompt.
        media: How files are read.
        prefix: What all prompts begin with; None where a server answers.
        constraint: What each answer has to be, or None; a server is asked for no choice.

    Attributes:
        n_prompt: Tokens of all prompts; None where a server does not count.
    """

    def __init__(
        self,
        conversation: Conversation,
        form: Form,
        media: MediaOptions,
        prefix: SharedPrefix | None,
        constraint: Constraint | None = None,
    ) -> None:
        self._conversation = conversation
        self._form, self._media, self._prefix = form, media, prefix
        self._constraint = constraint
        self._seed = conversation.options.seed
        self._n_found = 0
        self.n_prompt: int | None = 0

    @property
    def n_reused(self) -> int:
        """Tokens of prompts that were computed for another prompt, or by a server before."""
        n_once = self._prefix.n_computed if self._prefix else 0
        return max(0, self._n_found - n_once)

    def answer(self, asked: AskedInput) -> Result:
        """The answer to an input, or what is wrong with the input.

        Raises:
            InputError: what all prompts begin with is longer than the context.
            ServerError: the server fails, whatever the input.
        """
        try:
            question = make_question(self._form, asked, self._media)
        except InputError as error:
            return Failed(asked, error.message, error.hint)
        if self._prefix:
            self._prefix.restore()
        try:
            return self._ask(asked, question)
        except (InputError, ContextFullError, AnswerError) as error:
            return Failed(asked, error.message, error.hint)

    def _ask(self, asked: AskedInput, question: Question) -> Answered:
        conversation = self._conversation
        conversation.clear()
        if self._seed is not None:
            seed = (self._seed + asked.index) % 2**32
            conversation.options = replace(conversation.options, seed=seed)
        if self._constraint is not None:
            constrain(conversation, self._constraint)
        reply = conversation.reply(question)
        with closing(iter(reply)) as pieces:
            for _ in pieces:
                pass
        self._count(reply.stats)
        figures: Mapping[str, object] = {}
        if self._constraint is not None:
            figures = read_figures(conversation, reply, self._constraint)
        return Answered(asked, reply.text, reply.stats, conversation.options.seed, figures)

    def _count(self, stats: GenerationStats) -> None:
        n_reused = stats.reused_tokens or 0
        self._n_found += n_reused
        if self._prefix:
            self._prefix.note_reuse(n_reused)
        is_known = self.n_prompt is not None and stats.prompt_tokens is not None
        self.n_prompt = (self.n_prompt or 0) + (stats.prompt_tokens or 0) if is_known else None


def find_prefix(session: Session, form: Form, first: AskedInput) -> SharedPrefix:
    """What prompts of this form begin with, whatever the input.

    Args:
        session: Who will answer.
        form: The prompt.
        first: One of the inputs.
    """
    from g3n_cli.chat.shared_prefix import SharedPrefix

    beginnings: list[Sequence[int]] = []
    for question in _imagine(form, first):
        with suppress(InputError):  # of a kind that the model does not know
            beginnings.append(session.read_beginning(question))
    return SharedPrefix(session.engine, beginnings)


def _imagine(form: Form, first: AskedInput) -> Iterator[Question]:
    """Questions that begin in all the ways that there are."""
    from g3n_cli.chat.shared_prefix import UNLIKE_TEXTS

    if isinstance(first, FileInput):
        import numpy as np

        nothing = np.zeros(0, np.float32)
        parts: list[Part] = [TextPart(text) for text in UNLIKE_TEXTS]
        parts += [MediumPart("image", nothing, ""), MediumPart("audio", nothing, "")]
        yield from (form.surround(Attachment("", "", (part,))) for part in parts)
        return
    fields = getattr(first, "fields", None)
    for text in UNLIKE_TEXTS:
        names = None if fields is None else dict.fromkeys([*fields, *form.find_names()], text)
        yield Question(form.fill(text, names))
