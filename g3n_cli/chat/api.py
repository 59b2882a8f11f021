"""g3n from Python: a conversation in a few lines, on the same parts as ``g3n chat``."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Self, TypeAlias

from g3n_cli.chat.conversation import Question, Reply, Turn
from g3n_cli.chat.open import open_session
from g3n_cli.chat.options import AnswerOptions
from g3n_cli.config import EngineSettings
from g3n_cli.engine.encoders.open import Projector
from g3n_cli.engine.stats import GenerationStats
from g3n_cli.errors import UsageError
from g3n_cli.media.attach import read_each
from g3n_cli.media.options import MediaOptions
from g3n_cli.registry.models import read_sizes, resolve
from g3n_cli.registry.projector import find_projector

Files: TypeAlias = str | Path | Sequence[str | Path]
"""One path, pattern or folder, or several in order."""


class Chat:
    """A conversation with a model on this machine. Nothing is fetched and nothing is saved.

    Close it, or use it in a ``with`` statement: an open model holds up to gigabytes.

        with Chat("gemma-3n-e2b") as chat:
            print(chat.ask("Name three rivers"))

    Args:
        model: Name, reference or path of a GGUF file, as for ``g3n chat -m``; None opens the
            model that comes with g3n.
        system: What the model is told before the conversation, or "".
        stop: Texts that end an answer.
        grammar: GBNF that answers follow, or None.
        mmproj: File with the model's encoders; None looks beside the model.
        settings: How the model is opened; None takes the defaults of ``g3n chat``.
        options: How answers are made; None takes what the model's authors recommend, and a random
            seed.
        media: How files become parts of a message.

    Attributes:
        options: How the next answer is made; may be replaced.

    Raises:
        UsageError: the settings make no sense, or not with this model.
        InputError: ``mmproj`` is not there.
        ModelError: the model is missing, broken or of a kind g3n cannot run.
        DoesNotFitError: there is not enough memory.
    """

    def __init__(  # noqa: PLR0913  one conversation has these inputs
        self,
        model: str | None = None,
        *,
        system: str = "",
        stop: Sequence[str] = (),
        grammar: str | None = None,
        mmproj: str | Path | None = None,
        settings: EngineSettings | None = None,
        options: AnswerOptions | None = None,
        media: MediaOptions | None = None,
    ) -> None:
        if "" in stop:
            raise UsageError("a text that ends answers must not be empty")
        spec = resolve(model)
        if settings is None:
            settings = replace(EngineSettings(), **spec.defaults.given)
        if not settings.named_sizes:
            settings = replace(settings, named_sizes=read_sizes())
        if options is None:
            options = AnswerOptions(secrets.randbits(32), **spec.sampling.given)
        self._media = media or MediaOptions()
        projector = Projector(
            find_projector(spec.path, None if mmproj is None else Path(mmproj), spec.projector),
            settings.n_threads,
        )
        self._owned = ExitStack()
        self._session = self._owned.enter_context(
            open_session(
                spec, settings, options, projector, system=system, stop=stop, grammar=grammar
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def options(self) -> AnswerOptions:
        """How the next answer is made."""
        return self._session.options

    @options.setter
    def options(self, options: AnswerOptions) -> None:
        self._session.options = options

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What was said, oldest first."""
        return tuple(self._session.turns)

    @property
    def stats(self) -> GenerationStats | None:
        """Figures of the last answer; None before the first."""
        return self._session.last_stats

    @property
    def size(self) -> str:
        """The size the model runs in."""
        return self._session.engine.info.size

    def ask(self, prompt: str, files: Files = ()) -> str:
        """The answer to a message.

        Args:
            prompt: The message.
            files: Paths, patterns or folders of what goes before it, or one of them: text,
                pictures, sound, video.

        Raises:
            UsageError: the message is empty.
            InputError: a file cannot be used, the model has no encoder for it, or all of it does
                not fit the context.
        """
        reply = self._reply(prompt, files)
        return "".join(reply)

    def stream(self, prompt: str, files: Files = ()) -> Iterator[str]:
        """Pieces of the answer as they come; leaving the loop ends the answer there.

        Args: as of ``ask``. Raises: as ``ask``.
        """
        with closing(iter(self._reply(prompt, files))) as pieces:
            yield from pieces

    def regenerate(self) -> str:
        """Another answer to the last message, in place of the one it had.

        Raises:
            UsageError: nothing was said yet.
        """
        return "".join(self._session.regenerate())

    def undo(self) -> str:
        """Forget the last turn; returns its message.

        Raises:
            UsageError: nothing was said yet.
        """
        return self._session.undo().text

    def clear(self) -> None:
        """Forget all turns; the system text stays."""
        self._session.clear()

    def resize(self, size: str) -> None:
        """Go on in another size of the model, without loading it again.

        Raises:
            UsageError: the model has no such size.
        """
        self._session.engine.resize(size)

    def close(self) -> None:
        """Give back the model; only what was said can be read from then on."""
        self._owned.close()

    def _reply(self, prompt: str, files: Files) -> Reply:
        if not prompt.strip():
            raise UsageError("no prompt")
        names = [files] if isinstance(files, str | Path) else files
        attachments = read_each([str(name) for name in names], self._media)
        return self._session.reply(Question(prompt, tuple(attachments)))
