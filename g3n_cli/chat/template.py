"""A conversation as the ids a model reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from g3n_cli.chat.jinja import JinjaTemplate
from g3n_cli.engine.api import ModelInfo, Tokenizer
from g3n_cli.errors import ModelError

Render: TypeAlias = Callable[[Sequence[dict[str, str]]], str]
"""Text of a conversation, up to where the model's answer begins."""

FIRST_SLOT = 0x100000  # private use, plane 16: no model knows these characters
SLOTS = re.compile("([\U00100000-\U0010fffd])")


@dataclass(frozen=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: Who speaks.
        text: What was said.
        ids: Ids of an answer as the model sampled them, or None to encode ``text``.
    """

    role: Literal["system", "user", "assistant"]
    text: str
    ids: tuple[int, ...] | None = None


class ChatTemplate:
    """Turns messages into the ids of a prompt.

    Answers keep the ids the model sampled: its text is replaced by a private-use character while
    the markup is rendered, and that by the ids afterwards. So a prompt of the next turn begins
    with exactly what is in the K/V cache. Text that holds a special token (``<end_of_turn>``
    typed by a person) goes the same way and is encoded as plain text, so that nobody forges a
    turn. All other text is encoded together with the markup around it, because tokens may span
    the border.

    Args:
        info: The model; its own template is used, or Gemma's where a Gemma 3n file has none.
        tokenizer: The model's tokenizer.

    Raises:
        ModelError: the model has no template, or one that does not work.
    """

    def __init__(self, info: ModelInfo, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._render: Render
        if info.chat_template is not None:
            bos, eos = (_show(tokenizer, i) for i in (tokenizer.bos_id, tokenizer.eos_id))
            self._render = JinjaTemplate(info.chat_template, bos, eos).render
        elif info.architecture == "gemma3n":
            self._render = render_gemma
        else:
            raise ModelError(
                f"{info.name} has no chat template",
                hint="chat needs a model tuned for conversation, often named -it or -Instruct",
            )

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation, up to where the answer begins.

        Raises:
            ModelError: the model's template fails on this conversation.
        """
        slots: list[list[int]] = []
        shown = [{"role": m.role, "content": self._make_slot(m, slots)} for m in messages]
        ids: list[int] = []
        for i, part in enumerate(SLOTS.split(self._render(shown))):
            slot = ord(part) - FIRST_SLOT if i % 2 else 0
            if i % 2 == 0:
                ids += self._tokenizer.encode(part, add_bos=i == 0) if part or i == 0 else []
            elif slot < len(slots):
                ids += slots[slot]
        bos = self._tokenizer.bos_id
        return ids[1:] if bos is not None and ids[:2] == [bos, bos] else ids

    def _make_slot(self, message: Message, slots: list[list[int]]) -> str:
        """The message's text, or a private-use character that stands for ids added to ``slots``."""
        text, ids = message.text, message.ids
        before = after = ""
        if ids is None:
            if not SLOTS.search(text) and not self._has_special(text):
                return text
            core = text.strip()  # space around it stays visible to a template that trims
            before, _, after = text.partition(core)
            ids = tuple(self._tokenizer.encode(core, parse_special=False))
        slots.append(list(ids))
        return before + chr(FIRST_SLOT + len(slots) - 1) + after

    def _has_special(self, text: str) -> bool:
        plain = self._tokenizer.encode(text, parse_special=False)
        return self._tokenizer.encode(text) != plain


def _show(tokenizer: Tokenizer, token: int | None) -> str:
    return "" if token is None else tokenizer.piece(token, special=True).decode(errors="replace")


def render_gemma(messages: Sequence[dict[str, str]]) -> str:
    """Gemma 3n's own turn markup.

    There is no system role: a system text goes before the first message, with a blank line
    between. ``<bos>`` is left to the tokenizer.

    Source: the chat template of transformers' Gemma 3n conversion script.
    """
    turns = list(messages)
    system = turns.pop(0)["content"].strip() if turns and turns[0]["role"] == "system" else ""
    parts = []
    for i, turn in enumerate(turns):
        text = turn["content"].strip()
        if i == 0 and system:
            text = f"{system}\n\n{text}"
        role = "model" if turn["role"] == "assistant" else turn["role"]
        parts.append(f"<start_of_turn>{role}\n{text}<end_of_turn>\n")
    return "".join(parts) + "<start_of_turn>model\n"
