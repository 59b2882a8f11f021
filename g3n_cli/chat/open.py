"""Opening what a conversation with a model in this process needs, and closing it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from g3n_cli.chat.media import MediaStore
from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.session import Session
from g3n_cli.config import EngineSettings
from g3n_cli.engine.api import Engine
from g3n_cli.engine.encoders.open import Projector
from g3n_cli.engine.open import open_engine
from g3n_cli.registry.models import ModelSpec


@contextmanager
def open_model(
    spec: ModelSpec,
    settings: EngineSettings,
    projector: Projector,
    *,
    pads_audio: bool,
    keeps_encoder: bool = False,
) -> Iterator[tuple[Engine, MediaStore]]:
    """A model and what encodes its media; both are closed with the context.

    Args and errors: as of ``open_session``.
    """
    with closing(open_engine(spec.path, spec.name, settings)) as engine:
        store = MediaStore(
            engine.info, projector.open, pads_audio=pads_audio, keeps_open=keeps_encoder
        )
        with closing(store):
            yield engine, store


@contextmanager
def open_session(  # noqa: PLR0913  one conversation has these inputs
    spec: ModelSpec,
    settings: EngineSettings,
    options: AnswerOptions,
    projector: Projector,
    *,
    system: str = "",
    stop: Sequence[str] = (),
    grammar: str | None = None,
    prefix: str = "",
    pads_audio: bool = True,
    keeps_encoder: bool = False,
) -> Iterator[Session]:
    """A conversation; model and encoders are closed with the context.

    Args:
        spec: The model.
        settings: How it is opened.
        options: How answers are made.
        projector: The model's encoders.
        system: What the model is told before the conversation, or "".
        stop: Texts that end an answer.
        grammar: GBNF that answers follow, or None.
        prefix: What each answer begins with, or "".
        pads_audio: Fill each sound up as transformers does.
        keeps_encoder: Leave an encoder open for the next medium instead of giving it back.

    Raises:
        InputError: the settings do not suit the model.
        ModelError: the file is broken.
    """
    opening = open_model(
        spec, settings, projector, pads_audio=pads_audio, keeps_encoder=keeps_encoder
    )
    with opening as (engine, store):
        yield Session(engine, options, system, stop, grammar, store, spec.template, prefix)
