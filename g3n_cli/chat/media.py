"""Pictures and sounds of a conversation as positions of a prompt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

import numpy as np

from g3n_cli.engine.api import ModelInfo, Progress
from g3n_cli.engine.encoders.api import MediaEncoder, Rows
from g3n_cli.engine.encoders.open import (
    AUDIO_POSITIONS,
    EncoderKind,
    OpenEncoder,
    count_positions,
)
from g3n_cli.engine.prompt import NO_TOKEN, Key, Prompt
from g3n_cli.errors import InputError, ModelError
from g3n_cli.media.parts import MediumPart

OnEncode: TypeAlias = Callable[[str], Progress]
"""Asked for what to tell the progress of a medium's encoding, by the medium's label."""

Layout: TypeAlias = list["tuple[int, ...] | MediumPart"]
"""A prompt before its media are encoded: token ids, and media in between."""

_PLE_ROW = 0


class MediaStore:
    """Encodes each medium once and remembers its rows.

    One encoder is open at a time, and none while nothing is encoded unless ``keeps_open``.

    Args:
        info: The model that reads the rows.
        open_encoder: Opens an encoder, or refuses.
        pads_audio: Fill each sound up to ``AUDIO_POSITIONS``, as transformers does.
        keeps_open: Leave the last encoder open for the next medium, until ``close``.
    """

    def __init__(
        self,
        info: ModelInfo,
        open_encoder: OpenEncoder,
        *,
        pads_audio: bool = True,
        keeps_open: bool = False,
    ) -> None:
        self._info = info
        self._open_encoder = open_encoder
        self._pads_audio = pads_audio
        self._keeps_open = keeps_open
        self._rows: dict[str, Rows] = {}
        self._ends: dict[EncoderKind, Rows] = {}
        self._pads: dict[EncoderKind, Rows] = {}
        self._opened: tuple[EncoderKind, MediaEncoder] | None = None
        self._owned = ExitStack()

    def count(self, part: MediumPart) -> int:
        """Positions of a medium, its end mark included; before it is encoded, the most."""
        rows = self._rows.get(part.content_hash)
        if part.kind == "audio" and self._pads_audio:
            return AUDIO_POSITIONS + 1
        return 1 + (count_positions(part.kind, len(part.values)) if rows is None else len(rows))

    def can_encode(self, kind: EncoderKind) -> bool:
        """Whether there is an encoder that suits the model; it is opened to find out."""
        try:
            self._open(kind)
        except (InputError, ModelError):
            return False
        finally:
            if not self._keeps_open:
                self.close()
        return self._info.n_embd is not None

    @contextmanager
    def keeping_open(self) -> Iterator[None]:
        """Leave the encoder open from one medium to the next while the context lasts."""
        before, self._keeps_open = self._keeps_open, True
        try:
            yield
        finally:
            self._keeps_open = before
            if not before:
                self.close()

    def encode(self, parts: Iterable[MediumPart], on_encode: OnEncode | None = None) -> float:
        """Make sure that all ``parts`` are encoded, pictures first; returns the seconds it took.

        Raises:
            InputError: the model takes no embeddings, has no such encoder, or one that belongs to
                another model; or a medium is not usable.
            ModelError: the encoder's file is broken.
        """
        missing = {part.content_hash: part for part in parts if part.content_hash not in self._rows}
        if missing and self._info.n_embd is None:
            raise InputError(f"{self._info.name} reads text only")
        started = time.perf_counter()
        try:
            for part in sorted(missing.values(), key=lambda part: part.kind, reverse=True):
                encoder = self._open(part.kind)
                progress = None if on_encode is None else on_encode(part.label)
                self._rows[part.content_hash] = encoder.encode(part.values, progress)
        finally:
            if not self._keeps_open:
                self.close()
        return time.perf_counter() - started if missing else 0.0

    def build_prompt(self, layout: Layout) -> Prompt:
        """The prompt of a layout whose media are all encoded.

        Soft tokens have identities of their content; the end mark is a row of the encoder's own,
        not the vocabulary's. All of them take per-layer embeddings of row 0.

        Source: ``Gemma3nModel.forward`` of transformers.
        """
        keys: list[Key] = []
        ids: list[int] = []
        rows: list[Rows] = []
        for piece in layout:
            if isinstance(piece, tuple):
                keys += piece
                ids += piece
                continue
            soft = self._rows[piece.content_hash]
            keys += [(piece.content_hash, i) for i in range(len(soft))]
            rows.append(soft)
            if piece.kind == "audio" and self._pads_audio:
                n_pad = AUDIO_POSITIONS - len(soft)
                keys += [("pad of audio", 0)] * n_pad
                rows.append(np.repeat(self._pads["audio"][None], n_pad, axis=0))
            keys.append((f"end of {piece.kind}", 0))
            rows.append(self._ends[piece.kind][None])
            ids += [NO_TOKEN] * (len(keys) - len(ids))
        all_ids = np.asarray(ids, np.int32)
        ple_ids = np.where(all_ids == NO_TOKEN, np.int32(_PLE_ROW), all_ids)
        together = np.concatenate(rows).astype(np.float32, copy=False) if rows else None
        return Prompt(tuple(keys), all_ids, ple_ids, together)

    def keep_only(self, parts: Iterable[MediumPart]) -> None:
        """Forget the rows of all other media."""
        wanted = {part.content_hash for part in parts}
        self._rows = {name: rows for name, rows in self._rows.items() if name in wanted}

    def close(self) -> None:
        """Close the encoder that is open, if one is; rows are kept."""
        self._owned.close()
        self._opened = None

    def _open(self, kind: EncoderKind) -> MediaEncoder:
        if self._opened is not None and self._opened[0] == kind:
            return self._opened[1]
        self.close()
        encoder = self._open_encoder(kind)
        self._owned.callback(encoder.close)
        n_embd = encoder.end_row.shape[-1]
        if n_embd != self._info.n_embd:
            raise InputError(
                f"the projector belongs to another model: its embeddings have {n_embd:,} values,"
                f" those of {self._info.name} {self._info.n_embd:,}"
            )
        self._ends[kind], self._pads[kind] = encoder.end_row.ravel(), encoder.pad_row.ravel()
        self._opened = kind, encoder
        return encoder
