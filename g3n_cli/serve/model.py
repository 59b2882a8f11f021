"""The model that a server answers with, and answering one request with it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

from g3n_cli import __version__
from g3n_cli.chat.conversation import Question, Turn
from g3n_cli.chat.media import MediaStore
from g3n_cli.chat.open import open_model
from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.schema.answer import AnswerSchema
from g3n_cli.chat.session import Session
from g3n_cli.chat.transcribe import Segment, make_instruction, transcribe
from g3n_cli.config import EngineSettings
from g3n_cli.engine.api import Engine, Progress, Tokenizer
from g3n_cli.engine.encoders.open import AUDIO_POSITIONS, EncoderKind, Projector
from g3n_cli.engine.generate import Generation
from g3n_cli.engine.prompt import Prompt
from g3n_cli.engine.sampler import make_sampler
from g3n_cli.engine.stats import GenerationStats
from g3n_cli.errors import G3nError, InputError, PromptTooLongError, UsageError
from g3n_cli.media.attach import read_attachment
from g3n_cli.media.detect import detect
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.parts import Attachment, Part, TextPart
from g3n_cli.media.source import Source
from g3n_cli.registry.models import ModelSpec
from g3n_cli.serve.grammar import JSON_OBJECT
from g3n_cli.serve.kept import CacheUse, KeptConversations
from g3n_cli.serve.requests import (
    ChatRequest,
    Content,
    Medium,
    Request,
    Rules,
    SpeechRequest,
    TextRequest,
)

Answering: TypeAlias = Generator[str | Segment | GenerationStats]
"""Pieces of an answer, or of what is said in a file, and its figures at the end."""

_NO_STATS = GenerationStats(None, None, None, None, None, None, "end")
_CLIP_S = 30.0
_MOST_SAID = 1024
_MOST_CLIP_TOKENS = 800
"""Of half a minute of speech: several times what anybody says; a model may go in circles."""
_FILE_KINDS = {"image": "image", "audio": "av"}
_MEDIUM_NAMES = {"image": "picture", "audio": "sound"}


@dataclass(frozen=True)
class Served:
    """What clients may know of the model.

    Attributes:
        name: What it is called.
        path: Its file.
        architecture: ``general.architecture`` of the file.
        size: Which of the nested models.
        n_ctx: Positions of the context.
        n_ctx_train: Those it was trained for.
        n_bytes: Size of the file.
        modified: When the file was changed, in seconds since 1970.
        chat_template: Jinja source, or None.
        sees: Whether it reads pictures.
        hears: Whether it reads sound.
        defaults: Sampling settings where a request says nothing, by the names of ``/set``.
        version: Of the program.
    """

    name: str
    path: Path
    architecture: str
    size: str
    n_ctx: int
    n_ctx_train: int
    n_bytes: int
    modified: float
    chat_template: str | None
    sees: bool
    hears: bool
    defaults: dict[str, float]
    version: str = f"g3n {__version__}"


class ServedModel:
    """An open model that answers requests, one after the other, each a conversation of its own.

    What a request has in common with one before it is not computed again while it is kept.

    Args:
        engine: The open model; the caller closes it.
        store: Encodes pictures and sounds; the caller closes it.
        projector: Where its encoders come from.
        template: Jinja source to use instead of the model's own, or None.
        defaults: Sampling settings where a request says nothing, by the names of ``/set``.
        cache_bytes: Memory for K/V of conversations that the engine does not hold now.
    """

    def __init__(
        self,
        engine: Engine,
        store: MediaStore,
        projector: Projector,
        template: str | None,
        defaults: dict[str, float],
        cache_bytes: int,
    ) -> None:
        self._kept = KeptConversations(engine, cache_bytes)
        self._engine, self._store, self._projector = engine, store, projector
        self._template, self._defaults = template, defaults
        self._said: dict[str, tuple[int, ...]] = {}  # tokens of answers, oldest first
        # Of longer sound no more is read than what makes the prompt too long.
        self._media = MediaOptions(end_s=_CLIP_S * (2 + engine.n_ctx // AUDIO_POSITIONS))

    def describe(self) -> Served:
        """What clients may know of it."""
        info = self._engine.info
        file = info.path.stat()
        return Served(
            name=info.name,
            path=info.path,
            architecture=info.architecture,
            size=info.size,
            n_ctx=self._engine.n_ctx,
            n_ctx_train=info.n_ctx_train,
            n_bytes=file.st_size,
            modified=file.st_mtime,
            chat_template=self._template or info.chat_template,
            sees=self._can_read("image"),
            hears=self._can_read("audio"),
            defaults=self._defaults,
        )

    @property
    def cache_use(self) -> CacheUse:
        """What is kept of conversations; may be read on any thread."""
        return self._kept.use

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own; may be used on any thread."""
        return self._engine.tokenizer

    def answer(self, request: Request, check: Callable[[], None]) -> Answering:
        """Pieces of the answer, and its figures at the end.

        Args:
            request: What is asked.
            check: Called between steps of the computation; what it raises ends the answer.

        Raises:
            InputError: the request has no room in the context, or media that cannot be read.
            UsageError: settings that the model cannot follow.
        """

        def on_progress(_done: int, _total: int) -> None:
            check()

        if isinstance(request, SpeechRequest):
            return self._transcribe(request, check)
        if isinstance(request, TextRequest):
            return self._go_on(request, on_progress)
        return self._reply(request, on_progress)

    def _reply(self, request: ChatRequest, on_progress: Progress) -> Answering:
        rules = request.rules
        session = Session(
            self._engine,
            self._complete(rules),
            request.system,
            rules.stop,
            _choose_grammar(rules),
            self._store,
            self._template,
            forgets=False,
        )
        session.prefill = self._kept.prefill
        for content, answer in request.turns:
            question = self._read(content)
            ids = self._said.get(answer, ())
            turn = Turn(question.text, answer, ids, _NO_STATS, question.attachments)
            session.turns.append(turn)
        reply = session.reply(
            self._read(request.question), on_progress, on_encode=lambda _label: on_progress
        )
        yield from reply
        if reply.stats.stop_reason == "end" and not reply.is_empty:
            self._remember(session.turns[-1])
        yield reply.stats

    def _remember(self, turn: Turn) -> None:
        """Keep the tokens of an answer: encoded again, its text could become others."""
        self._said.pop(turn.text, None)
        self._said[turn.text] = turn.ids
        if len(self._said) > _MOST_SAID:
            del self._said[next(iter(self._said))]

    def _go_on(self, request: TextRequest, on_progress: Progress) -> Answering:
        rules, tokenizer = request.rules, self._engine.tokenizer
        ids = tokenizer.encode(request.prompt, add_bos=True)
        if tokenizer.bos_id is not None and ids[:2] == [tokenizer.bos_id] * 2:
            del ids[0]  # the text has one of its own
        if len(ids) >= self._engine.n_ctx:
            raise PromptTooLongError(
                f"the prompt has {len(ids):,} tokens, but the context holds {self._engine.n_ctx:,}"
            )
        options = self._complete(rules)
        sampler = make_sampler(self._engine, options.make_sampling(), _choose_grammar(rules))
        generation = Generation(
            self._engine,
            Prompt.of_ids(ids),
            sampler,
            options.max_tokens,
            stop=rules.stop,
            on_progress=on_progress,
            prefill=self._kept.prefill,
        )
        with closing(sampler):
            yield from generation
        yield generation.stats

    def _transcribe(self, request: SpeechRequest, check: Callable[[], None]) -> Answering:
        """What is said, piece by piece, as ``g3n transcribe`` has it."""
        self._projector.check("audio")
        source = Source.of_bytes(request.content, "the file")
        if detect(source) not in (_FILE_KINDS["audio"], "unknown"):
            raise InputError("the file is no sound")
        options = AnswerOptions(seed=0, temp=request.temp, max_tokens=_MOST_CLIP_TOKENS)
        session = Session(self._engine, options, media=self._store, template=self._template)
        instruction = make_instruction(None, request.language)
        self._kept.set_aside()
        try:
            with self._store.keeping_open():
                yield from transcribe(
                    session, source, MediaOptions(), instruction, lambda *_span: check(), check
                )
        finally:
            self._engine.trim(0)  # the pieces are not asked for again, so nobody keeps them
        yield _NO_STATS

    def _complete(self, rules: Rules) -> AnswerOptions:
        """Options of the request, then the model's, then the program's."""
        given = {name: v for name, v in asdict(rules.options).items() if v is not None}
        return AnswerOptions(**{"seed": secrets.randbits(32), **self._defaults, **given})

    def _read(self, content: Content) -> Question:
        """A message with its media decoded; its last text comes after all else."""
        parts: list[Part] = []
        text = content[-1] if content and isinstance(content[-1], str) else ""
        for part in content[:-1] if text else content:
            if isinstance(part, str):
                parts.append(TextPart(part))
            else:
                parts += self._decode(part)
        if not parts:
            return Question(text)
        return Question(text, (Attachment("message", "parts", tuple(parts)),))

    def _decode(self, medium: Medium) -> tuple[Part, ...]:
        self._projector.check(medium.kind)  # before any work is done for it
        name = _MEDIUM_NAMES[medium.kind]
        source = Source.of_bytes(medium.content, f"the {name}")
        if detect(source) not in (_FILE_KINDS[medium.kind], "unknown"):
            raise InputError(f"what was sent as a {name} is none")
        attachment = read_attachment(source, self._media)
        if any(part.kind != medium.kind for part in attachment.media):
            raise InputError(f"what was sent as a {name} is none")
        return attachment.parts

    def _can_read(self, kind: EncoderKind) -> bool:
        try:
            self._projector.check(kind)
        except G3nError:
            return False
        return True


def _choose_grammar(rules: Rules) -> str | None:
    """What an answer must follow.

    Raises:
        UsageError: a schema that is none, or that a grammar cannot wholly follow.
    """
    if rules.schema is None:
        return JSON_OBJECT if rules.is_json else None
    schema = AnswerSchema.parse(rules.schema)
    if schema.unfollowed:  # a stream could not take back what fails the check in the end
        raise UsageError(
            f"the schema has keywords that no grammar follows: {', '.join(schema.unfollowed)}"
        )
    return schema.grammar


@contextmanager
def open_served(
    spec: ModelSpec,
    settings: EngineSettings,
    projector: Projector,
    *,
    pads_audio: bool,
    cache_bytes: int,
) -> Iterator[ServedModel]:
    """An open model; it and its encoders are closed with the context.

    Raises:
        InputError: the settings do not suit the model.
        ModelError: the file is broken.
    """
    with open_model(spec, settings, projector, pads_audio=pads_audio) as (engine, store):
        yield ServedModel(engine, store, projector, spec.template, spec.sampling.given, cache_bytes)
