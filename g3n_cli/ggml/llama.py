"""llama.cpp's models and vocabularies as Python objects that own what they point to."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from g3n_cli.errors import ModelError
from g3n_cli.ggml.abort import AbortFlag
from g3n_cli.ggml.handles import Managed
from g3n_cli.ggml.llama_log import C, take_error

_ALL_LAYERS = 1 << 20


class Model(Managed):
    """A GGUF file as llama.cpp holds it, with or without its weights.

    Args:
        path: The file. Validate it before: llama.cpp may abort the process on a broken one.
        vocab_only: Load no weights.
        repack: Copy weights into the layout the CPU's kernels like best, where there is one.
        abort: Makes loading weights give up.
        device: Address of the device that computes; None for the CPU.
        gpu_layers: How many layers lie on it, all if not given.

    Raises:
        ModelError: llama.cpp cannot load the file, or gave up.
    """

    def __init__(
        self,
        path: Path,
        *,
        vocab_only: bool = False,
        repack: bool = True,
        abort: AbortFlag | None = None,
        device: int | None = None,
        gpu_layers: int | None = None,
    ) -> None:
        params = C.llama_model_default_params()
        params.vocab_only = vocab_only
        params.use_extra_bufts = repack
        # A list that ends with NULL. Without one llama.cpp takes all GPUs that it finds.
        devices = (ctypes.c_void_p * 2)(device, None)
        params.devices = ctypes.cast(devices, ctypes.c_void_p)
        params.n_gpu_layers = _ALL_LAYERS if gpu_layers is None else gpu_layers
        if abort is not None:
            params.progress_callback = C.llama_progress_callback(lambda *_: not abort.is_set())
        take_error()
        self._ptr = C.llama_model_load_from_file(bytes(path), params)
        if not self._ptr:
            cause = take_error() or "llama.cpp gives no reason"
            raise ModelError(f"cannot load {path.name}: {cause}")
        self.vocab = Vocab(self)

    def _free(self, ptr: int) -> None:
        C.llama_model_free(ptr)

    @property
    def chat_template(self) -> str | None:
        """Jinja source of the file's chat template, or None."""
        source = C.llama_model_chat_template(self.ptr, None)
        return None if source is None else source.decode(errors="replace")

    @property
    def architecture(self) -> str:
        """``general.architecture`` of the file."""
        buffer = ctypes.create_string_buffer(128)
        C.llama_model_meta_val_str(self.ptr, b"general.architecture", buffer, len(buffer))
        return buffer.value.decode(errors="replace")

    @property
    def n_ctx_train(self) -> int:
        """Context the model was trained for."""
        return int(C.llama_model_n_ctx_train(self.ptr))

    @property
    def n_swa(self) -> int:
        """Width of the sliding attention window; 0 without one."""
        return int(C.llama_model_n_swa(self.ptr))

    @property
    def has_encoder(self) -> bool:
        """Whether text goes through an encoder first, as in T5."""
        return bool(C.llama_model_has_encoder(self.ptr))


class Vocab:
    """The vocabulary of a model. Usable as long as the model is open, which it keeps alive.

    Raises:
        ModelError: the model has no tokenizer.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        if C.llama_vocab_type(self.ptr) == C.LLAMA_VOCAB_TYPE_NONE:
            raise ModelError("the file has no tokenizer")
        self.n_vocab = int(C.llama_vocab_n_tokens(self.ptr))

    @property
    def ptr(self) -> int:
        """Address of the vocabulary.

        Raises:
            ValueError: the model is already closed.
        """
        return int(C.llama_model_get_vocab(self._model.ptr))

    @property
    def bos_id(self) -> int | None:
        """Token that begins a text, or None if the vocabulary has none."""
        bos = C.llama_vocab_bos(self.ptr)
        return bos if bos >= 0 else None

    @property
    def eos_id(self) -> int | None:
        """Token the file names as the end of a text, or None."""
        eos = C.llama_vocab_eos(self.ptr)
        return eos if eos >= 0 else None

    @property
    def adds_bos(self) -> bool:
        """Whether the model was trained on texts that begin with ``bos_id``."""
        return bool(C.llama_vocab_get_add_bos(self.ptr))

    def tokenize(self, text: bytes, *, parse_special: bool) -> list[int]:
        """Token ids of UTF-8 text, without ``bos_id``; may hold NULs."""
        room = len(text) + 2  # one token per byte at worst, and a space SentencePiece may prepend
        tokens = np.empty(room, np.int32)
        n = C.llama_tokenize(
            self.ptr,
            text,
            len(text),
            tokens.ctypes.data_as(ctypes.POINTER(C.llama_token)),
            room,
            False,
            parse_special,
        )
        assert 0 <= n <= room
        ids: list[int] = tokens[:n].tolist()
        return ids

    def piece(self, token: int, *, special: bool) -> bytes:
        """Bytes of one token; those of a control token only if ``special``.

        Raises:
            IndexError: the vocabulary has no such token.
        """
        self._check(token)
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = C.llama_token_to_piece(self.ptr, token, buffer, size, 0, special)
            if n >= 0:
                return buffer.raw[:n]
            size = -n

    def is_control(self, token: int) -> bool:
        """Whether a token is markup, not text.

        Raises:
            IndexError: the vocabulary has no such token.
        """
        self._check(token)
        return bool(C.llama_vocab_is_control(self.ptr, token))

    def is_end(self, token: int) -> bool:
        """Whether llama.cpp takes a token for the end of an answer.

        Raises:
            IndexError: the vocabulary has no such token.
        """
        self._check(token)
        return bool(C.llama_vocab_is_eog(self.ptr, token))

    def _check(self, token: int) -> None:
        """A token out of range would abort the process."""
        if not 0 <= token < self.n_vocab:
            raise IndexError(f"no token {token} in a vocabulary of {self.n_vocab}")
