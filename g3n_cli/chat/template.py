"""A conversation as the ids a model reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from g3n_cli.chat.jinja import JinjaTemplate
from g3n_cli.chat.media import Layout
from g3n_cli.engine.api import ModelInfo, Tokenizer
from g3n_cli.errors import InputError, ModelError
from g3n_cli.media.parts import MediumKind, MediumPart, Part

Render: TypeAlias = Callable[[Sequence[dict[str, str]]], str]
"""Text of a conversation, up to where the model's answer begins."""

FIRST_SLOT = 0x100000  # private use, plane 16: no model knows these characters
SLOTS = re.compile("([\U00100000-\U0010fffd])")

_BEGINS: dict[MediumKind, str] = {"image": "<start_of_image>", "audio": "<start_of_audio>"}


@dataclass(frozen=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: Who speaks.
        text: What was said.
        ids: Ids of an answer as the model sampled them, or None to encode ``text``.
        parts: What goes before ``text``.
    """

    role: Literal["system", "user", "assistant"]
    text: str
    ids: tuple[int, ...] | None = None
    parts: tuple[Part, ...] = ()


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
        """Ids of a conversation without media, up to where the answer begins.

        Raises:
            ModelError: the model's template fails on this conversation.
        """
        return [i for piece in self.lay_out(messages) if isinstance(piece, tuple) for i in piece]

    def lay_out(self, messages: Sequence[Message]) -> Layout:
        """Ids of a conversation, up to where the answer begins, with its media in between.

        A medium stands between blank lines and behind the token that begins it. Text is encoded
        together with these blank lines, since newlines in a row are one token.

        Source: ``Gemma3nProcessor`` of transformers, which puts the same in a placeholder's place.

        Raises:
            ModelError: the model's template fails on this conversation.
            InputError: there are media, but the vocabulary has no token that begins them.
        """
        slots: list[tuple[int, ...] | MediumPart] = []
        shown = [{"role": m.role, "content": self._make_content(m, slots)} for m in messages]
        text = SLOTS.sub(lambda match: _pad_medium(match[0], slots), self._render(shown))
        layout: Layout = []
        ids: list[int] = []
        for i, part in enumerate(SLOTS.split(text)):
            slot = ord(part) - FIRST_SLOT if i % 2 else 0
            if i % 2 == 0:
                ids += self._tokenizer.encode(part, add_bos=i == 0) if part or i == 0 else []
            elif slot < len(slots):
                content = slots[slot]
                if isinstance(content, MediumPart):
                    layout += [(*ids, self._find_begin(content.kind)), content]
                    ids = []
                else:
                    ids += content
        layout.append(tuple(ids))
        return self._drop_second_bos(layout)

    def _drop_second_bos(self, layout: Layout) -> Layout:
        bos, first = self._tokenizer.bos_id, layout[0]
        if bos is not None and isinstance(first, tuple) and first[:2] == (bos, bos):
            layout[0] = first[1:]
        return layout

    def _find_begin(self, kind: MediumKind) -> int:
        """The token that begins a medium."""
        ids = self._tokenizer.encode(_BEGINS[kind])
        if len(ids) != 1:
            raise InputError(f"this model knows no {kind}: {_BEGINS[kind]} is none of its tokens")
        return ids[0]

    def _make_content(self, message: Message, slots: list[tuple[int, ...] | MediumPart]) -> str:
        """Text of a message, with characters that stand for media and for plain ids."""
        if not message.parts:
            return self._make_slot(message.text, message.ids, slots)
        content = ""
        texts: list[str] = []
        for part in (*message.parts, None):  # None: the message's own text comes last
            if isinstance(part, MediumPart):
                content += self._join(texts, slots)
                slots.append(part)
                content += chr(FIRST_SLOT + len(slots) - 1)
                texts = []
            else:
                texts.append(message.text if part is None else part.text)
        return content + self._join(texts, slots)

    def _join(self, texts: list[str], slots: list[tuple[int, ...] | MediumPart]) -> str:
        """Neighbouring texts with blank lines between, trimmed as templates trim them."""
        together = "\n\n".join(text.strip() for text in texts if text.strip())
        return self._make_slot(together, None, slots) if together else ""

    def _make_slot(
        self,
        text: str,
        ids: tuple[int, ...] | None,
        slots: list[tuple[int, ...] | MediumPart],
    ) -> str:
        """The text, or a private-use character that stands for ids added to ``slots``."""
        before = after = ""
        if ids is None:
            if not SLOTS.search(text) and not self._has_special(text):
                return text
            core = text.strip()  # space around it stays visible to a template that trims
            before, _, after = text.partition(core)
            ids = tuple(self._tokenizer.encode(core, parse_special=False))
        slots.append(tuple(ids))
        return before + chr(FIRST_SLOT + len(slots) - 1) + after

    def _has_special(self, text: str) -> bool:
        plain = self._tokenizer.encode(text, parse_special=False)
        return self._tokenizer.encode(text) != plain


def _pad_medium(slot: str, slots: Sequence[tuple[int, ...] | MediumPart]) -> str:
    index = ord(slot) - FIRST_SLOT
    is_medium = index < len(slots) and isinstance(slots[index], MediumPart)
    return f"\n\n{slot}\n\n" if is_medium else slot


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
