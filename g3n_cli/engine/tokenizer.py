"""Text to token ids and back, by llama.cpp's tokenizer."""

from __future__ import annotations

from pathlib import Path

from g3n_cli.ggml.llama import Model, Vocab
from g3n_cli.ggml.llama_sampler import find_end_ids

GEMMA3N_END_TEXTS = ("<eos>", "<end_of_turn>")
"""Some Gemma 3n files name only one of them as the end of a turn."""

STRIKE_END = "</s>"
"""Ends some models' answers, so llama.cpp makes it a control token; to Gemma 3n it is HTML."""


class LlamaTokenizer:
    """The tokenizer of a GGUF file. Close it, or the model it was made from.

    Args:
        model: An open model, with or without weights.

    Attributes:
        vocab: What samplers need for a grammar.
        bos_id: Token that begins a text, or None.
        eos_id: Token that ends a text, or None.
        end_ids: Tokens that end an answer.
        chat_template: Jinja source from the file, or None.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self.vocab: Vocab = model.vocab
        self.bos_id: int | None = self.vocab.bos_id
        self.eos_id: int | None = self.vocab.eos_id
        self.chat_template: str | None = model.chat_template
        self._strike_end: int | None = None
        if model.architecture == "gemma3n":
            ends = (self.vocab.eos_id, *map(self.find_control, GEMMA3N_END_TEXTS))
            self.end_ids = frozenset(token for token in ends if token is not None)
            self._strike_end = self.find_control(STRIKE_END)
        else:
            self.end_ids = find_end_ids(self.vocab)

    @classmethod
    def open(cls, path: Path) -> LlamaTokenizer:
        """Read the vocabulary of a file and none of its weights.

        Raises:
            ModelError: llama.cpp cannot load the file, or it has no tokenizer.
        """
        return cls(Model(path, vocab_only=True))

    @property
    def n_vocab(self) -> int:
        """Tokens of the vocabulary."""
        return self.vocab.n_vocab

    def encode(self, text: str, *, add_bos: bool = False, parse_special: bool = True) -> list[int]:
        """Token ids of ``text``.

        Args:
            text: Any text; lone surrogates become U+FFFD.
            add_bos: Begin with ``bos_id`` if the model was trained with it.
            parse_special: Turn markup such as ``<start_of_turn>`` into its tokens.
        """
        ids = self.vocab.tokenize(_encode_utf8(text), parse_special=parse_special)
        if add_bos and self.vocab.adds_bos and self.bos_id is not None:
            ids.insert(0, self.bos_id)
        return ids

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """Bytes of one token, maybe half a character; of control tokens only if ``special``.

        Raises:
            IndexError: the vocabulary has no such token.
        """
        return self.vocab.piece(token, special=special or token == self._strike_end)

    def find_control(self, text: str) -> int | None:
        """The control token written ``text``, or None."""
        ids = self.encode(text)
        return ids[0] if len(ids) == 1 and self.vocab.is_control(ids[0]) else None

    def close(self) -> None:
        """Close the model. Closing twice is harmless."""
        self._model.close()


def _encode_utf8(text: str) -> bytes:
    """UTF-8 of any str: by way of UTF-16, surrogate pairs are joined and lone ones replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
