"""A conversation: what was said, and answers as they come, whoever gives them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from g3n_cli.chat.options import AnswerOptions, ServerOptions
from g3n_cli.engine.stats import GenerationStats
from g3n_cli.errors import InputError, UsageError
from g3n_cli.media.parts import Attachment, MediumKind, MediumPart, Part

if TYPE_CHECKING:  # a conversation with a server needs no engine and nothing that comes with one
    from g3n_cli.chat.beginning import BeginningReader
    from g3n_cli.chat.media import OnEncode
    from g3n_cli.engine.api import Engine, Progress

LEAST_KEPT = 256
"""Positions; fewer are computed again sooner than their K/V is kept on disk."""


@dataclass(frozen=True)
class Question:
    """What a person says.

    Attributes:
        text: The message.
        attachments: Files that go before it.
    """

    text: str
    attachments: tuple[Attachment, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """Content of the files, in order."""
        return tuple(part for attachment in self.attachments for part in attachment.parts)

    @property
    def media(self) -> list[MediumPart]:
        """Pictures and sounds of the files."""
        return [part for attachment in self.attachments for part in attachment.media]

    @property
    def read_s(self) -> float | None:
        """Seconds that reading the files took, or None without files."""
        return sum(a.read_s for a in self.attachments) if self.attachments else None


@dataclass(frozen=True)
class Turn:
    """A message and its answer.

    Attributes:
        user: What the person said.
        text: What the model answered.
        ids: The answer's tokens as the model sampled them; none where they are not known.
        stats: The answer's figures.
        attachments: Files that went with the message.
    """

    user: str
    text: str
    ids: tuple[int, ...]
    stats: GenerationStats
    attachments: tuple[Attachment, ...] = ()

    @property
    def question(self) -> Question:
        """What the person said, with the files."""
        return Question(self.user, self.attachments)


class Answer(Protocol):
    """An answer on its way: iterate for its pieces of text, once."""

    @property
    def ids(self) -> Sequence[int]:
        """Its tokens so far, as far as they are known."""
        ...

    @property
    def text(self) -> str:
        """What has been handed out so far."""
        ...

    @property
    def stats(self) -> GenerationStats:
        """Figures so far."""
        ...

    def __iter__(self) -> Iterator[str]:
        """Pieces, each one valid text and none empty."""
        ...


class Recorder:
    """Told of a conversation as it goes; this one keeps nothing.

    Attributes:
        draft: A message from an earlier time that has no answer yet; without text if there is none.
        keeps_computed: Whether K/V is kept on disk.
    """

    draft = Question("")
    keeps_computed = False

    def begin(self, question: Question, *, replaces: bool) -> None:
        """A message is going to be answered, or the last one again."""

    def add(self, piece: str) -> None:
        """A piece of the answer came, and will be shown once this returns."""

    def end(self, turn: Turn | None) -> None:
        """The answer ended; None if it has no text."""

    def drop_last(self) -> None:
        """The last turn is forgotten."""

    def take_restored(self) -> int:
        """Positions that were taken from disk as computed since this was last asked."""
        return 0

    def restore_beginning(self, ids: Sequence[int]) -> bool:
        """Make what is kept of a beginning the content of the context; whether it is there now."""
        del ids
        return False

    def keep_beginning(self, ids: Sequence[int]) -> None:
        """Keep the content of the context, which is a beginning of these tokens."""

    def leave(self) -> None:
        """The conversation is over; what is said next begins another one."""

    def take_notes(self) -> list[str]:
        """What a person should know and was not told yet."""
        return []


class Conversation(ABC):
    """What a chat needs: a ``Session`` with a model in this process, or a ``RemoteSession``.

    Args:
        options: How answers are made; may be replaced between answers.
        system: What the model is told before the conversation, or "".

    Attributes:
        engine: The model open in this process, or None.
        turns: What was said, oldest first.
        last_stats: Figures of the last answer, or None.
        recorder: Told of all that is said.
        attempt: How often the last message was answered again.
        n_wanted: How many answers of a message are wanted, all but the first by ``regenerate``.
        is_again: Whether the answer takes the place of the last one.
        on_busy: Told how many answers are computed: 1 when one begins, 0 when it has ended.
    """

    engine: Engine | None
    options: AnswerOptions | ServerOptions

    def __init__(self, options: AnswerOptions | ServerOptions, system: str) -> None:
        self.options = options
        self.system = system
        self.turns: list[Turn] = []
        self.last_stats: GenerationStats | None = None
        self.recorder = Recorder()
        self.attempt = 0
        self.n_wanted = 1
        self.is_again = False
        self.on_busy: Callable[[int], None] = lambda _: None

    @property
    def seed(self) -> int | None:
        """Seed of the last answer; None if a server was not given one."""
        seed = self.options.seed
        return None if seed is None else (seed + self.attempt) % 2**32

    @property
    @abstractmethod
    def name(self) -> str:
        """What the model is called."""

    @property
    @abstractmethod
    def title(self) -> str:
        """The model, and what else a person should have in view."""

    def reply(
        self,
        message: str | Question,
        on_progress: Progress | None = None,
        on_encode: OnEncode | None = None,
        attempt: int = 0,
    ) -> Reply:
        """Answer a message. Pictures and sounds are encoded before this returns.

        Args:
            message: What is said.
            on_progress: Told how far the prompt is read.
            on_encode: Asked for what to tell the progress of encoding.
            attempt: Draw the answer that would come if it was made again so often.

        Raises:
            InputError: the message alone does not fit the context, is no text, or has files that
                the model cannot read.
        """
        self.attempt, self.is_again = attempt, False
        question = Question(message) if isinstance(message, str) else message
        _check_text("the message", question.text)
        _check_text("the system text", self.system)
        return self._answer(self.turns, question, on_progress, on_encode)

    def regenerate(
        self, on_progress: Progress | None = None, on_encode: OnEncode | None = None
    ) -> Reply:
        """Answer the last message again; the new answer takes the place of the old one.

        Raises:
            UsageError: nothing was said yet.
        """
        if not self.turns:
            raise UsageError("nothing was said yet")
        self.attempt, self.is_again = self.attempt + 1, True
        return self._answer(self.turns[:-1], self.turns[-1].question, on_progress, on_encode)

    def undo(self) -> Question:
        """Forget the last turn and return its message.

        Raises:
            UsageError: nothing was said yet.
        """
        if not self.turns:
            raise UsageError("nothing was said yet")
        self.recorder.drop_last()
        return self.turns.pop().question

    def clear(self) -> None:
        """Begin another conversation; the system text stays."""
        self.recorder.leave()
        self.turns.clear()

    def find_beginning(self) -> Sequence[int]:
        """Ids that all conversations with this system text begin with; none of a short one."""
        return ()

    @abstractmethod
    def count_used(self) -> int | None:
        """Tokens that the conversation takes in the context; None if a server does not tell."""

    @abstractmethod
    def count_cost(self, attachment: Attachment) -> int | None:
        """Tokens that a file takes, at most; None if a server does not tell."""

    @abstractmethod
    def can_read(self, kind: MediumKind) -> bool:
        """Whether the model can be shown a picture, or told a sound."""

    @abstractmethod
    def _answer(
        self,
        turns: Sequence[Turn],
        question: Question,
        on_progress: Progress | None,
        on_encode: OnEncode | None,
    ) -> Reply:
        """The reply to ``question`` after ``turns``."""


def _check_text(what: str, text: str) -> None:
    """Refuse what the bytes of a terminal or an argument become that are no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{what} is not UTF-8 text") from None


@dataclass
class Reply:
    """An answer as it comes: iterate for its pieces of text, once.

    However the iteration ends, by itself, by an interruption, or because the caller goes away,
    what was said by then becomes part of the conversation; of an answer without a single token
    nothing does.

    Attributes:
        n_dropped: How many of the oldest turns are forgotten to make room; with a server it is
            known once the answer has begun.
        encode_s: Seconds that encoding pictures and sounds took, or None without any.
        reader: Reads the prompt, and knows what of it comes from disk; or None.
    """

    _conversation: Conversation
    _question: Question
    _turns: list[Turn]
    n_dropped: int
    _answer: Answer
    _close: Callable[[], None]
    encode_s: float | None = None
    reader: BeginningReader | None = None

    @property
    def text(self) -> str:
        """What was said so far."""
        return self._answer.text

    @property
    def stats(self) -> GenerationStats:
        """Figures of the answer so far."""
        stats, reader = self._answer.stats, self.reader
        return replace(
            stats,
            read_s=self._question.read_s,
            encode_s=self.encode_s,
            disk_tokens=min(reader.n_from_disk, stats.reused_tokens or 0) if reader else None,
        )

    @property
    def is_empty(self) -> bool:
        """Whether not a single token was said."""
        return not self._answer.ids and not self._answer.text

    def __iter__(self) -> Generator[str]:
        """Pieces of the answer."""
        conversation = self._conversation
        conversation.on_busy(1)
        conversation.recorder.begin(self._question, replaces=conversation.is_again)
        turn = None
        try:
            for piece in self._receive():
                conversation.recorder.add(piece)
                yield piece
        finally:
            self._close()
            conversation.last_stats = self.stats
            if not self.is_empty:
                said, files = self._question.text, self._question.attachments
                turn = Turn(said, self.text, tuple(self._answer.ids), self.stats, files)
                conversation.turns = [*self._turns, turn]
            conversation.recorder.end(turn)
            conversation.on_busy(0)

    def _receive(self) -> Iterator[str]:
        """Pieces of the answer as they come."""
        return iter(self._answer)
