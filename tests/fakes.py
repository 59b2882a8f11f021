"""Stand-ins without a model, and terminals that remember what was written to them."""

import io
import re
from dataclasses import replace

from g3n_cli.ui.terminal import Terminal
from tests.engine.scripted import BOS, CONTROL, END, ByteTokenizer, FakeEngine

IMAGE, AUDIO = 259, 260
MARKUP = {
    "<bos>": BOS,
    "<end_of_turn>": END,
    "<start_of_turn>": CONTROL,
    "<start_of_image>": IMAGE,
    "<start_of_audio>": AUDIO,
}


class MarkupTokenizer(ByteTokenizer):
    """Token i is byte i; Gemma's turn markup has tokens of its own."""

    def encode(self, text, *, add_bos=False, parse_special=True):
        ids = [BOS] if add_bos else []
        parts = re.split(f"({'|'.join(MARKUP)})", text) if parse_special else [text]
        for part in parts:
            ids += [MARKUP[part]] if parse_special and part in MARKUP else part.encode()
        return ids

    def piece(self, token, *, special=False):
        if token < BOS:
            return bytes([token])
        return next(text for text, i in MARKUP.items() if i == token).encode() if special else b""


def make_engine(*answers, template=None, architecture="gemma3n", **settings):
    """A scripted engine that reads turn markup."""
    engine = FakeEngine(*answers, **settings)
    engine.tokenizer = MarkupTokenizer()
    engine.info = replace(engine.info, architecture=architecture, chat_template=template)
    return engine


def show_ids(ids):
    """Ids as text, markup included."""
    tokenizer = MarkupTokenizer()
    return b"".join(tokenizer.piece(i, special=True) for i in ids).decode()


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


class Pipe(io.TextIOWrapper):
    """A stream with bytes in it, or to be filled."""

    def __init__(self, content=b""):
        super().__init__(io.BytesIO(content), encoding="utf-8", write_through=True)

    def getvalue(self):
        return self.buffer.getvalue().decode()


def make_terminal(*, is_screen=False, stdin=b"", is_dumb=False):
    """A terminal, or three pipes."""
    if is_screen:
        return Terminal(Screen(), Screen(), Screen(), is_dumb=is_dumb)
    return Terminal(Pipe(stdin), Pipe(), Pipe())
