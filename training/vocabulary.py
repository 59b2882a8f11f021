"""The vocabulary of g3n-mini: byte-pair pieces, so chosen that head words are whole ones."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sentencepiece

from training.recipe import BOS, END, EOS, PAD, SPECIAL, START, UNK

_HEAD_WORD_WEIGHT = 400


@dataclass(frozen=True)
class Vocabulary:
    """Pieces with their scores, and the tokenizer that uses them.

    Attributes:
        pieces: All pieces in order of their ids; the first ones are ``SPECIAL``.
        scores: Of the pieces: merges with higher ones come first.
        processor: Sentencepiece's, as bytes.
    """

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    processor: bytes

    def encoder(self) -> sentencepiece.SentencePieceProcessor:
        """Turns text into ids and back."""
        return sentencepiece.SentencePieceProcessor(model_proto=self.processor)


def train(text: Iterable[str], head_words: Sequence[str], n_pieces: int) -> Vocabulary:
    """Byte-pair pieces of ``text`` in which ``head_words`` count many times."""
    repeated = " ".join(word for word in head_words for _ in range(4))
    lines = [*text, *[f" {word}" for word in head_words] * (_HEAD_WORD_WEIGHT // 4)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([repeated, *lines]),
        model_writer=model,
        model_type="bpe",
        vocab_size=n_pieces,
        character_coverage=1.0,
        byte_fallback=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        allow_whitespace_only_pieces=True,
        split_digits=True,
        max_sentence_length=1 << 20,
        pad_id=PAD,
        eos_id=EOS,
        bos_id=BOS,
        unk_id=UNK,
        pad_piece=SPECIAL[PAD],
        eos_piece=SPECIAL[EOS],
        bos_piece=SPECIAL[BOS],
        unk_piece=SPECIAL[UNK],
        control_symbols=[SPECIAL[START], SPECIAL[END]],
        num_threads=2,
        user_defined_symbols=["\n"],
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(processor.get_piece_size())
    return Vocabulary(
        tuple(processor.id_to_piece(i) for i in ids),
        tuple(processor.get_score(i) for i in ids),
        model.getvalue(),
    )
