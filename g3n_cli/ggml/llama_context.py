"""llama.cpp's context: a model with one sequence in its K/V cache."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt

from g3n_cli.config import EngineSettings
from g3n_cli.errors import G3nError, ModelError
from g3n_cli.ggml.abort import AbortFlag
from g3n_cli.ggml.backend import Aborted
from g3n_cli.ggml.handles import Managed
from g3n_cli.ggml.llama import Model
from g3n_cli.ggml.llama_log import C, take_error

_DECODE_ABORTED = 2


class LlamaContext(Managed):
    """The state of one conversation. Close it before its model.

    Compute from one thread only: OpenMP keeps a team of threads per calling thread.

    Args:
        model: A model with its weights.
        settings: Sizes, threads and the type of the K/V cache.
        abort: Stops ``evaluate``.

    Raises:
        ModelError: the model does not generate text, or not with these settings.
    """

    def __init__(self, model: Model, settings: EngineSettings, abort: AbortFlag) -> None:
        params = C.llama_context_default_params()
        params.n_ctx = settings.n_ctx
        params.n_batch = params.n_ubatch = min(settings.n_batch, settings.n_ctx)
        params.n_outputs_max = 1  # the default reserves logits for a whole batch
        params.n_threads = params.n_threads_batch = settings.n_threads
        params.type_k = params.type_v = getattr(C, f"GGML_TYPE_{settings.kv.upper()}")
        # Only a quantized V cache needs flash attention, which is no faster on a CPU.
        if settings.kv in ("q8_0", "q4_0"):
            params.flash_attn_type = C.LLAMA_FLASH_ATTN_TYPE_ENABLED
        elif settings.is_on_cpu:
            params.flash_attn_type = C.LLAMA_FLASH_ATTN_TYPE_DISABLED
        else:
            params.flash_attn_type = C.LLAMA_FLASH_ATTN_TYPE_AUTO
        params.swa_full = False
        params.abort_callback = abort.callback
        params.abort_callback_data = abort.address
        take_error()
        self._ptr = C.llama_init_from_model(model.ptr, params)
        if not self._ptr:
            raise ModelError(f"llama.cpp cannot run this model: {take_error()}")
        self._model = model
        self._abort = abort
        if model.has_encoder or not C.llama_get_memory(self.ptr):
            self.close()
            raise ModelError(f"a {model.architecture} model does not continue text")

    @property
    def n_past(self) -> int:
        """Positions computed and kept."""
        return int(C.llama_memory_seq_pos_max(C.llama_get_memory(self.ptr), 0)) + 1

    def evaluate(self, ids: npt.NDArray[np.int32]) -> None:
        """Append 1 to ``n_batch`` tokens.

        Raises:
            Aborted: the flag was set; nothing was appended.
            G3nError: llama.cpp reports a failure.
        """
        ids = np.ascontiguousarray(ids, np.int32)
        tokens = ids.ctypes.data_as(ctypes.POINTER(C.llama_token))
        take_error()
        status = C.llama_decode(self.ptr, C.llama_batch_get_one(tokens, len(ids)))
        if status == _DECODE_ABORTED:
            raise Aborted
        if status != 0:
            raise G3nError(f"llama.cpp could not compute (status {status}): {take_error()}")

    def read_logits(self) -> npt.NDArray[np.float32]:
        """Logits [n_vocab] of the last position evaluated; a copy."""
        row = C.llama_get_logits_ith(self.ptr, -1)
        return np.ctypeslib.as_array(row, (self._model.vocab.n_vocab,)).copy()

    def trim(self, n_past: int) -> int:
        """Forget positions from ``n_past`` on.

        Returns:
            Positions kept: ``n_past``, or 0 where the rest is not enough to go on from, as a
            sliding window has moved on or a recurrent state cannot be taken back.
        """
        memory = C.llama_get_memory(self.ptr)
        if n_past >= self.n_past:
            return self.n_past
        oldest_needed = max(0, n_past - self._model.n_swa)
        has_needed = C.llama_memory_seq_pos_min(memory, 0) <= oldest_needed
        if n_past > 0 and has_needed and C.llama_memory_seq_rm(memory, 0, n_past, -1):
            return n_past
        C.llama_memory_clear(memory, False)
        return 0

    def _free(self, ptr: int) -> None:
        C.llama_free(ptr)
