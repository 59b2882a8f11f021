"""What clients ask for, and OpenAI's way of asking for it.

Source: OpenAI's API reference, "Chat completions" and "Completions". What cannot be done is
refused; fields that say nothing about the answer, such as ``user``, and unknown ones are ignored.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

from g3n_cli.chat.options import ServerOptions
from g3n_cli.media.parts import MediumKind
from g3n_cli.serve.fields import (
    read_flag,
    read_number,
    read_object,
    read_objects,
    read_stop,
    read_whole,
    refuse,
    refuse_given,
)
from g3n_cli.serve.refusal import Json, RefusedError

_UNSUPPORTED = (
    *("frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs"),
    *("grammar", "suffix", "echo", "prediction"),
)
_INSTRUCTIONS = ("system", "developer")


@dataclass(frozen=True)
class Medium:
    """A picture or a sound, not decoded yet.

    Attributes:
        kind: What it must be.
        content: The file's bytes.
    """

    kind: MediumKind
    content: bytes


Content: TypeAlias = tuple[str | Medium, ...]
"""Texts and media of a message, in order; no two texts follow each other."""


@dataclass(frozen=True)
class Rules:
    """How an answer is made.

    Attributes:
        options: What the request says; the rest is the model's.
        stop: Texts that end it.
        is_json: It must be a JSON object.
        schema: It must be a JSON document that satisfies this JSON Schema, itself JSON; or None.
    """

    options: ServerOptions = field(default_factory=ServerOptions)
    stop: tuple[str, ...] = ()
    is_json: bool = False
    schema: str | None = None


@dataclass(frozen=True)
class ChatRequest:
    """A conversation that wants its next answer.

    Attributes:
        system: What the model is told before it.
        turns: Messages and their answers so far.
        question: The last message.
        rules: How the answer is made.
    """

    system: str
    turns: tuple[tuple[Content, str], ...]
    question: Content
    rules: Rules


@dataclass(frozen=True)
class TextRequest:
    """A text to go on with, without a template around it.

    Attributes:
        prompt: The text; markup in it becomes its tokens.
        rules: How the answer is made.
    """

    prompt: str
    rules: Rules


@dataclass(frozen=True)
class SpeechRequest:
    """Sound of which the words are wanted.

    Attributes:
        content: The file's bytes.
        language: That is spoken, if the client says so.
        temp: Temperature of the draw.
    """

    content: bytes
    language: str | None = None
    temp: float = 0.0


Request: TypeAlias = ChatRequest | TextRequest | SpeechRequest


def parse_chat(body: Json) -> ChatRequest:
    """A request for the next answer of a conversation.

    Raises:
        RefusedError: it makes no sense, or asks for what cannot be done.
    """
    if body.get("tool_choice") != "none":
        refuse_given(body, ("tools", "functions"))
    if body.get("modalities") not in (None, ["text"]):
        refuse("modalities", "can be text only")
    return read_conversation(read_objects(body, "messages"), parse_rules(body))


def parse_text(body: Json) -> TextRequest:
    """A request to go on with a text.

    Raises:
        RefusedError: it makes no sense, or asks for what cannot be done.
    """
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        refuse("prompt", "must be one text")
    return TextRequest(prompt, parse_rules(body))


def parse_rules(body: Json) -> Rules:
    """How the answer is made, by OpenAI's names and those that llama.cpp adds.

    Raises:
        RefusedError: values that make no sense, or ask for what cannot be done.
    """
    refuse_given(body, _UNSUPPORTED)
    if read_whole(body, "n", 1) not in (None, 1):
        refuse("n", "can only be 1: one answer is computed at a time")
    if read_whole(body, "best_of", 1) not in (None, 1):
        refuse("best_of", "can only be 1")
    limit = "max_tokens" if body.get("max_completion_tokens") is None else "max_completion_tokens"
    n_most = read_whole(body, limit, -(2**31))
    if n_most == 0:
        refuse(limit, "must be at least 1, or negative for no limit")
    top_k = read_whole(body, "top_k", -1, 2**31 - 1)
    options = ServerOptions(
        seed=read_seed(body),
        temp=read_number(body, "temperature", 0, 100),
        top_k=None if top_k is None else max(0, top_k),
        top_p=read_number(body, "top_p", 1e-6, 1),
        min_p=read_number(body, "min_p", 0, 1),
        repeat_penalty=read_number(body, "repeat_penalty", 1e-3, 100),
        max_tokens=None if n_most is None or n_most < 0 else n_most,
    )
    return Rules(options, read_stop(body), *_read_format(body))


def read_seed(body: Json) -> int | None:
    """The seed; negative ones, which mean "any", are left out."""
    seed = read_whole(body, "seed", -(2**63), 2**64 - 1)
    return None if seed is None or seed < 0 else seed % 2**32


def read_conversation(messages: list[Json], rules: Rules) -> ChatRequest:
    """A conversation as a list of messages.

    Instructions go to the beginning, wherever they stand. Messages in a row by one side are one
    message; an answer that comes first answers an empty message.

    Raises:
        RefusedError: it does not end with a message to answer, or has parts that cannot be read.
    """
    system: list[str] = []
    turns: list[tuple[Content, str]] = []
    asked: Content | None = None
    for i, message in enumerate(messages):
        role, content = message.get("role"), _read_content(message, f"messages[{i}].content")
        if role in _INSTRUCTIONS:
            system += _require_text(content, f"messages[{i}]")
        elif role == "user":
            asked = _join(asked or (), content)
        elif role == "assistant":
            refuse_given(message, ("tool_calls", "function_call", "audio"))
            answer = "\n\n".join(_require_text(content, f"messages[{i}]"))
            if asked is None and turns:
                before, said = turns.pop()
                turns.append((before, f"{said}\n\n{answer}"))
            else:
                turns.append((asked or (), answer))
            asked = None
        else:
            refuse(f"messages[{i}].role", "must be system, developer, user or assistant")
    if asked is None and (turns or not system):
        refuse("messages", "must end with a message of the user's")
    return ChatRequest("\n\n".join(system), tuple(turns), asked or (), rules)


def wants_usage(body: Json) -> bool:
    """Whether a stream shall end with the number of tokens."""
    return read_flag(read_object(body, "stream_options"), "include_usage", default=False)


def decode_base64(text: str, param: str) -> bytes:
    """The bytes of a base64 text.

    Raises:
        RefusedError: it is none, or empty.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    return content or refuse(param, "must be base64 of a file")


def _read_format(body: Json) -> tuple[bool, str | None]:
    """Whether the answer must be a JSON object, and the schema that it must satisfy.

    A schema may stand beside ``json_object`` too, as llama.cpp has it.
    """
    wanted = read_object(body, "response_format")
    match wanted:
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return False, json.dumps(schema)
        case {"type": "json_object", "schema": dict(schema)}:
            return False, json.dumps(schema)
    kind = wanted.get("type", "text")
    if kind not in ("text", "json_object"):
        refuse("response_format", "must be text, json_object, or json_schema with a schema")
    return kind == "json_object", None


def _read_content(message: Json, param: str) -> Content:
    content = message.get("content")
    if content is None or content == "":
        return ()
    if isinstance(content, str):
        return (content,)
    if not isinstance(content, list):
        refuse(param, "must be a string or a list of parts")
    return _join((), content=tuple(_read_parts(content, param)))


def _read_parts(parts: list[object], param: str) -> Iterator[str | Medium]:
    for part in parts:
        match part:
            case {"type": "text", "text": str(text)} | {"type": "refusal", "refusal": str(text)}:
                yield text
            case {"type": "image_url", "image_url": {"url": str(url)} | str(url)}:
                yield Medium("image", _read_data_url(url, f"{param}.image_url"))
            case {"type": "input_audio", "input_audio": {"data": str(encoded)}}:
                yield Medium("audio", decode_base64(encoded, f"{param}.input_audio.data"))
            case _:
                refuse(param, "must have parts of the types text, image_url and input_audio")


def _read_data_url(url: str, param: str) -> bytes:
    """Bytes of a ``data:`` URL. Source: RFC 2397."""
    head, comma, data = url.partition(",")
    if head[:5].lower() != "data:" or not comma:
        refuse(param, "must be a data: URL, as nothing is fetched")
    if head.lower().endswith(";base64"):
        return decode_base64(data, param)
    return unquote_to_bytes(data.encode(errors="replace")) or refuse(param, "is empty")


def _require_text(content: Content, param: str) -> list[str]:
    texts = [part for part in content if isinstance(part, str)]
    if len(texts) < len(content):
        raise RefusedError(400, f"{param} can hold text only", param, "invalid_value")
    return texts


def _join(before: Content, content: Content) -> Content:
    """Contents one after the other, neighbouring texts with a blank line between."""
    joined = list(before)
    for part in content:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] = f"{joined[-1]}\n\n{part}"
        else:
            joined.append(part)
    return tuple(joined)
