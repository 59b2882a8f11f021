"""Text to tokens and back, by llama.cpp's interface.

Source: README.md of llama.cpp's tools/server, ``/tokenize`` and ``/detokenize``.
"""

from __future__ import annotations

from g3n_cli.engine.api import Tokenizer
from g3n_cli.serve.fields import read_flag, read_text, refuse
from g3n_cli.serve.refusal import Json

MOST_TEXT = 1 << 22
MOST_TOKENS = 1 << 20
"""Far more than any context holds; so many take a second or two."""


def tokenize(tokenizer: Tokenizer, body: Json) -> Json:
    """What ``/tokenize`` answers: ids, or with ``with_pieces`` also what each stands for.

    Raises:
        RefusedError: fields that make no sense, or too long a text.
    """
    text = read_text(body, "content")
    if len(text) > MOST_TEXT:
        refuse("content", f"must have at most {MOST_TEXT:,} characters")
    ids = tokenizer.encode(
        text,
        add_bos=read_flag(body, "add_special", default=False),
        parse_special=read_flag(body, "parse_special", default=True),
    )
    if not read_flag(body, "with_pieces", default=False):
        return {"tokens": ids}
    return {
        "tokens": [
            {"id": token, "piece": _show_piece(tokenizer.piece(token, special=True))}
            for token in ids
        ]
    }


def detokenize(tokenizer: Tokenizer, body: Json) -> Json:
    """What ``/detokenize`` answers: the text of tokens, markup included.

    Raises:
        RefusedError: they are no tokens of the model, or too many.
    """
    tokens = body.get("tokens", [])
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        refuse("tokens", "must be a list of whole numbers")
    if len(tokens) > MOST_TOKENS:
        refuse("tokens", f"must be at most {MOST_TOKENS:,}")
    try:
        content = b"".join(tokenizer.piece(token, special=True) for token in tokens)
    except IndexError:
        refuse("tokens", "has some that the model does not have")
    return {"content": content.decode(errors="replace")}


def _show_piece(piece: bytes) -> str | list[int]:
    """A text, or the bytes of what is half a character."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return [*piece]
