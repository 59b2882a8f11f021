"""The vocabulary of a checkpoint, as llama.cpp's SentencePiece tokenizer wants it.

Source: llama.cpp ``conversion/base.py``, ``_create_vocab_sentencepiece``, and ``gguf-py``
``SpecialVocab``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from g3n_cli.convert.safetensors import read_json
from g3n_cli.convert.sentencepiece import Piece, PieceType, read_pieces
from g3n_cli.engine.gguf import Value
from g3n_cli.engine.gguf_writer import ValueType, make_array
from g3n_cli.errors import ModelError

_UNUSED_SCORE, _ADDED_SCORE = -10_000.0, -1000.0
_SPECIAL = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_KEYS = {"unk": "unknown", "sep": "seperator", "pad": "padding"}  # as GGUF spells them
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_SPACE = "\u2581"


class TokenType(IntEnum):
    """``tokenizer.ggml.token_type``."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Token:
    """One entry of a vocabulary."""

    text: str
    score: float
    type: TokenType


@dataclass(frozen=True)
class Vocabulary:
    """All tokens, and what a tokenizer's configuration says about them.

    Attributes:
        tokens: By id.
        settings: Of ``tokenizer_config.json``.
        chat_template: Jinja text, or None.
    """

    tokens: tuple[Token, ...]
    settings: dict[str, Any]
    chat_template: str | None

    def make_keys(self, config: dict[str, Any]) -> dict[str, Value]:
        """``tokenizer.*``.

        Args:
            config: ``config.json``, asked for ids that the tokenizer's settings do not name.
        """
        tokens = self.tokens
        keys: dict[str, Value] = {
            "ggml.model": "llama",
            "ggml.pre": "default",
            "ggml.tokens": make_array(ValueType.STRING, [token.text for token in tokens]),
            "ggml.scores": make_array(ValueType.FLOAT32, [token.score for token in tokens]),
            "ggml.token_type": make_array(ValueType.INT32, [token.type for token in tokens]),
        }
        ids = {token.text: i for i, token in enumerate(tokens)}
        for name in _SPECIAL:
            found = self._find_special(name, ids, config)
            if found is not None:
                keys[f"ggml.{_KEYS.get(name, name)}_token_id"] = found
        keys["ggml.add_bos_token"] = self.settings.get("add_bos_token") is not False
        keys["ggml.add_eos_token"] = self.settings.get("add_eos_token") is True
        keys["ggml.add_space_prefix"] = False
        if self.chat_template is not None:
            keys["chat_template"] = self.chat_template
        return {f"tokenizer.{key}": value for key, value in keys.items()}

    def _find_special(self, name: str, ids: dict[str, int], config: dict[str, Any]) -> int | None:
        """The id of a token that plays a part: the first, where several do."""
        entry = self.settings.get(f"{name}_token")
        text = entry.get("content") if isinstance(entry, dict) else entry
        if isinstance(text, str) and text in ids:
            return ids[text]
        for values in (config, config.get("text_config")):
            found = values.get(f"{name}_token_id") if isinstance(values, dict) else None
            found = found[0] if isinstance(found, list) and found else found
            if type(found) is int and 0 <= found < len(self.tokens):
                return found
        return None


def read_vocabulary(folder: Path, n_vocab: int) -> Vocabulary:
    """The tokens of a checkpoint, from ``tokenizer.model`` or else ``tokenizer.json``.

    Args:
        folder: Where they are.
        n_vocab: Rows of the embedding: ids without a token get a placeholder.

    Raises:
        ModelError: neither file is there, or one makes no sense.
    """
    path = folder / "tokenizer_config.json"
    settings = read_json(path) if path.is_file() else {}
    if (folder / "tokenizer.model").is_file():
        found = dict(enumerate(map(_of_piece, read_pieces(folder / "tokenizer.model"))))
        added = _read_added(folder, settings)
    elif (folder / "tokenizer.json").is_file():
        path = folder / "tokenizer.json"
        table = read_json(path)
        found = _read_merges_model(path, table)
        entries = table.get("added_tokens", [])
        if not isinstance(entries, list):
            raise ModelError(f"{path}: added_tokens is no list")
        added = _check_added(
            path, [(e.get("id") if isinstance(e, dict) else e, e) for e in entries]
        )
    else:
        raise ModelError(
            f"{folder} holds no tokenizer", "it needs tokenizer.model or tokenizer.json"
        )
    found |= added
    fillers = (Token(f"[PAD{i}]", _UNUSED_SCORE, TokenType.UNUSED) for i in range(n_vocab))
    tokens = tuple(found.get(i, filler) for i, filler in enumerate(fillers))
    template = _read_template(folder, settings)
    try:
        "".join([template or "", *(token.text for token in tokens)]).encode()
    except UnicodeEncodeError as error:  # JSON can spell halves of characters
        raise ModelError(f"{folder}: a token or the chat template is not Unicode") from error
    return Vocabulary(tokens, settings, template)


def _of_piece(piece: Piece) -> Token:
    """Which pieces are the user's own is left to the settings, as in llama.cpp's converter."""
    kind = TokenType.NORMAL if piece.type == PieceType.USER_DEFINED else TokenType(piece.type)
    return Token(piece.text, piece.score, kind)


def _read_added(folder: Path, settings: dict[str, Any]) -> dict[int, Token]:
    """Tokens that the settings add to those of ``tokenizer.model``, or describe anew."""
    path = folder / "added_tokens.json"
    listed = read_json(path) if path.is_file() else {}
    plain = _check_added(path, [(number, {"content": text}) for text, number in listed.items()])
    entries = settings.get("added_tokens_decoder", {})
    if not isinstance(entries, dict):
        raise ModelError(f"{folder / 'tokenizer_config.json'}: added_tokens_decoder is no object")
    pairs = [(int(key) if key.isdecimal() else key, entry) for key, entry in entries.items()]
    return plain | _check_added(folder / "tokenizer_config.json", pairs)


def _check_added(path: Path, pairs: list[tuple[Any, Any]]) -> dict[int, Token]:
    added: dict[int, Token] = {}
    for number, entry in pairs:
        text = entry.get("content") if isinstance(entry, dict) else None
        if type(number) is not int or not isinstance(text, str) or not isinstance(entry, dict):
            raise ModelError(f"{path}: an added token has no number or no text")
        if entry.get("special") is True or _looks_special(text):
            added[number] = Token(text, _ADDED_SCORE, TokenType.CONTROL)
        else:
            plain = text.replace(_SPACE, " ")
            added[number] = Token(plain, _ADDED_SCORE, TokenType.USER_DEFINED)
    return added


def _looks_special(text: str) -> bool:
    """Control tokens of Gemma that its files do not always call special."""
    return (
        text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (text.startswith("<|") and text.endswith("|>"))
        or (text.startswith("<unused") and text.endswith(">"))
    )


def _read_merges_model(path: Path, table: dict[str, Any]) -> dict[int, Token]:
    """Tokens with scores that merge pairs in the order of the file's list of merges.

    transformers makes that list from the scores, so their order is all that is needed.

    Source: transformers ``convert_slow_tokenizer.generate_merges``.
    """
    match table.get("model"):
        case {"vocab": dict(ids), "merges": list(merges), **rest}:
            unknown = rest.get("unk_token")
        case _:
            raise ModelError(f"{path}: no byte-pair encoding with merges, as Gemma 3n has it")
    ranks: dict[str, int] = {}
    for pair in merges:
        parts = pair.split(" ") if isinstance(pair, str) else pair
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise ModelError(f"{path}: a merge is not a pair")
        ranks.setdefault("".join(parts), len(ranks))
    found: dict[int, Token] = {}
    for text, number in ids.items():
        if type(number) is not int:
            raise ModelError(f"{path}: token {text!r} has no number")
        kind = TokenType.BYTE if _BYTE.fullmatch(text) else TokenType.NORMAL
        kind = TokenType.UNKNOWN if text == unknown else kind
        found[number] = Token(text, -float(ranks.get(text, len(ranks))), kind)
    return found


def _read_template(folder: Path, settings: dict[str, Any]) -> str | None:
    template = settings.get("chat_template")
    if isinstance(template, list):
        named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
        template = named.get("default")
    if template is None and (folder / "chat_template.jinja").is_file():
        try:
            template = (folder / "chat_template.jinja").read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{folder / 'chat_template.jinja'} cannot be read") from error
    if template is None and (folder / "chat_template.json").is_file():
        template = read_json(folder / "chat_template.json").get("chat_template")
    return template if isinstance(template, str) else None
