"""A made-up vocabulary that costs what Gemma's costs: as many pieces, as long, merged alike."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import IntEnum

from g3n_cli.engine.gguf import Value
from g3n_cli.engine.gguf_writer import ValueType, make_array

SPACE = "\u2581"
"""What SentencePiece writes for a blank."""

FIRST_BYTE = 238
FIRST_PIECE = FIRST_BYTE + 256
FIRST_TAIL = 256_000
"""From here on Gemma's vocabulary holds control tokens only, nearly all of them unused."""

_SPECIAL = {0: "<pad>", 1: "<eos>", 2: "<bos>", 3: "<unk>", 4: "<mask>"}
_TURNS = {105: "<start_of_turn>", 106: "<end_of_turn>"}
_MEDIA = ("<start_of_image>", "<start_of_audio>")
_FIRST_MEDIUM = 255_999
_NEWLINES = {106 + n: "\n" * n for n in range(1, 32)}
_BLANKS = {136 + n: " " * n for n in range(2, 32)}
_BYTES = {FIRST_BYTE + value: f"<0x{value:02X}>" for value in range(256)}

_LETTERS = "etaoinshrdlcumwfgypbvkjxqz"
"""Commonest first: a small vocabulary gets the pairs that text is likeliest to hold."""

_LENGTH_SHARES = {4: 11, 5: 20, 6: 19, 7: 14, 8: 11, 9: 9, 10: 6, 11: 5, 12: 5}
"""Percent of the longer pieces that have each length, much as in Gemma's vocabulary."""

_ASCII = [chr(code) for code in range(0x21, 0x7F)]
_FOREIGN = [
    chr(code)
    for start, stop in ((0xA1, 0x250), (0x370, 0x530), (0x3041, 0x3100), (0x4E00, 0xA000))
    for code in range(start, stop)
    if chr(code).isprintable()
]


class TokenKind(IntEnum):
    """Kinds of token, numbered as in ``llama.h``."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    BYTE = 6


@dataclass(frozen=True)
class Vocabulary:
    """A SentencePiece vocabulary.

    Attributes:
        tokens: Piece of each id.
        scores: Merge priority of each id; higher merges first.
        kinds: Kind of each id.
    """

    tokens: list[str]
    scores: list[float]
    kinds: list[TokenKind]

    def metadata(self) -> dict[str, Value]:
        """The ``tokenizer.ggml`` keys; no chat template."""
        keys: dict[str, Value] = {
            "model": "llama",
            "pre": "default",
            "tokens": make_array(ValueType.STRING, self.tokens),
            "scores": make_array(ValueType.FLOAT32, self.scores),
            "token_type": make_array(ValueType.INT32, self.kinds),
            "bos_token_id": 2,
            "eos_token_id": 1,
            "unknown_token_id": 3,
            "padding_token_id": 0,
            "add_bos_token": True,
            "add_eos_token": False,
            "add_space_prefix": False,
        }
        return {f"tokenizer.ggml.{name}": value for name, value in keys.items()}


def make_vocabulary(n_vocab: int, seed: int = 0) -> Vocabulary:
    """Make ``n_vocab`` distinct tokens with Gemma's special ids, newline runs and byte tokens.

    What begins a picture and a sound has Gemma 3n's ids, in a smaller vocabulary the last two.
    What ends them lies behind the 262,144 tokens of a text model: encoders hold its embeddings.

    Gemma's 6,000 unused control tokens are imitated too: llama.cpp searches a text for every
    one of them, which is most of the time a short text takes to tokenize.
    """
    media = dict(enumerate(_MEDIA, min(_FIRST_MEDIUM, n_vocab - len(_MEDIA))))
    control = _SPECIAL | _TURNS | media
    user_defined = _NEWLINES | _BLANKS
    pieces = iter(_make_pieces(min(n_vocab, FIRST_TAIL) - FIRST_PIECE, random.Random(seed)))
    tokens, scores, kinds = [], [], []
    for token in range(n_vocab):
        score = -1000.0
        if token in control:
            text = control[token]
            kind = TokenKind.UNKNOWN if text == "<unk>" else TokenKind.CONTROL
        elif token in user_defined:
            text, kind = user_defined[token], TokenKind.USER_DEFINED
        elif token in _BYTES:
            text, kind, score = _BYTES[token], TokenKind.BYTE, 0.0
        elif FIRST_PIECE <= token < FIRST_TAIL:
            text, kind, score = next(pieces), TokenKind.NORMAL, float(FIRST_PIECE - token)
        else:
            text, kind = f"<unused{token}>", TokenKind.CONTROL
        tokens.append(text)
        scores.append(score)
        kinds.append(kind)
    return Vocabulary(tokens, scores, kinds)


def _make_pieces(n_pieces: int, rng: random.Random) -> list[str]:
    """Distinct pieces; each longer one joins two others, as byte-pair merges make them."""
    pieces = [SPACE, *_ASCII]
    if n_pieces > 2 * len(_FOREIGN):
        pieces += _FOREIGN
    pairs = [a + b for a in _LETTERS for b in _LETTERS]
    triples = [a + b for a in pairs for b in _LETTERS]
    inner = {1: list(_LETTERS), 2: pairs, 3: triples}
    initial = {1: [SPACE], 2: [SPACE + a for a in _LETTERS], 3: [SPACE + a for a in pairs]}
    for length in (2, 3):
        pieces += initial[length] + inner[length]
    n_longer = max(0, n_pieces - len(pieces))
    for length, share in _LENGTH_SHARES.items():
        quota = -(-n_longer * share // (2 * sum(_LENGTH_SHARES.values())))
        for heads in (initial, inner):
            words: dict[str, None] = {}
            while len(words) < quota:
                cut = rng.randrange(1, length)
                words[rng.choice(heads[cut]) + rng.choice(inner[length - cut])] = None
            heads[length] = list(words)
            pieces += words
    return pieces[:n_pieces]
