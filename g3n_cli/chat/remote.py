"""A conversation with a model on a server."""

from __future__ import annotations

import base64
import io
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from g3n_cli.chat.conversation import Conversation, Question, Reply, Turn
from g3n_cli.chat.options import ServerOptions
from g3n_cli.engine.server import Server
from g3n_cli.engine.server_generation import ServerGeneration
from g3n_cli.errors import ContextFullError, InputError
from g3n_cli.media.parts import Attachment, MediumKind, Part, TextPart

if TYPE_CHECKING:
    from g3n_cli.chat.media import OnEncode
    from g3n_cli.engine.api import Progress

_NAMES = {
    "temp": ("temperature",),
    "repeat_penalty": ("repeat_penalty", "repetition_penalty"),  # llama.cpp's name, vLLM's
}


class RemoteSession(Conversation):
    """A conversation with a model on a server. All of it is sent with each message.

    Args:
        server: Whom to ask.
        model: Which of its models.
        options: What to ask for; may be replaced between answers.
        system: What the model is told before the conversation, or "".
        stop: Texts that end an answer.

    Attributes:
        response_format: What answers have to be, as OpenAI's interface says it, or None.
    """

    engine: None = None
    options: ServerOptions

    def __init__(
        self,
        server: Server,
        model: str,
        options: ServerOptions,
        system: str = "",
        stop: Sequence[str] = (),
    ) -> None:
        super().__init__(options, system)
        self._server = server
        self._model = model
        self._stop = list(stop)
        self.response_format: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """What the server calls the model."""
        return self._model

    @property
    def title(self) -> str:
        """The model, and where it is."""
        return f"{self._model} at {self._server.address}"

    def count_used(self) -> int | None:
        """Tokens of the conversation after its last answer, as the server counts them."""
        if not self.turns:
            return 0
        stats = self.turns[-1].stats
        if stats.prompt_tokens is None or stats.output_tokens is None:
            return None
        return stats.prompt_tokens + stats.output_tokens

    def count_cost(self, attachment: Attachment) -> None:
        """Not known here."""
        del attachment

    def can_read(self, kind: MediumKind) -> bool:
        """Pictures may be sent; whether the model sees them, the server knows."""
        return kind == "image"

    def _answer(
        self,
        turns: Sequence[Turn],
        question: Question,
        on_progress: Progress | None,
        on_encode: OnEncode | None,
    ) -> Reply:
        del on_progress, on_encode  # a server tells nothing while it reads
        generation = self.ask(turns, question)
        return _RemoteReply(self, question, list(turns), 0, generation, generation.close)

    def ask(self, turns: Sequence[Turn], question: Question) -> ServerGeneration:
        """The answer to ``question`` after ``turns``, as the server sends it."""
        messages: list[dict[str, Any]] = []
        if self.system:
            messages.append({"role": "system", "content": self.system})
        for turn in turns:
            messages.append({"role": "user", "content": make_content(turn.question)})
            messages.append({"role": "assistant", "content": turn.text})
        messages.append({"role": "user", "content": make_content(question)})
        request = {"model": self._model, "messages": messages, **self._ask_for()}
        if self.response_format is not None:
            request["response_format"] = self.response_format
        return ServerGeneration(self._server, request)

    def _ask_for(self) -> dict[str, Any]:
        """Options of the request: those that were given, no others, as servers refuse some."""
        given = {name: value for name, value in asdict(self.options).items() if value is not None}
        if self.attempt:  # some servers draw the same each time unless another seed is given
            given["seed"] = (given.get("seed", secrets.randbits(31)) + self.attempt) % 2**32
        asked = {key: given[name] for name in given for key in _NAMES.get(name, (name,))}
        return {**asked, "stop": self._stop} if self._stop else asked


class _RemoteReply(Reply):
    """An answer for which the oldest turns are forgotten, one by one, while it has no room."""

    _conversation: RemoteSession

    def _receive(self) -> Iterator[str]:
        while True:
            try:
                yield from self._answer
                return
            except ContextFullError as error:
                if self.text:
                    raise
                if not self._turns:
                    hint = "the message alone is too long for it"
                    raise ContextFullError(error.message, hint) from None
            self._turns = self._turns[1:]
            self.n_dropped += 1
            generation = self._conversation.ask(self._turns, self._question)
            self._answer, self._close = generation, generation.close


def make_content(question: Question) -> str | list[dict[str, Any]]:
    """A message as OpenAI's interface has it: text, or a list of texts and pictures.

    Raises:
        InputError: it has sound.
    """
    if not question.media:
        texts = [part.text for part in question.parts if isinstance(part, TextPart)]
        return "\n\n".join(text for text in (*texts, question.text) if text)
    parts = [*question.parts, *([TextPart(question.text)] if question.text else [])]
    return [_make_part(part) for part in parts]


def _make_part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if part.kind != "image":
        raise InputError("sound is not sent to servers", "open a model on this machine for it")
    from PIL import Image

    png = io.BytesIO()
    Image.fromarray(part.values).save(png, "PNG")
    encoded = base64.b64encode(png.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}
