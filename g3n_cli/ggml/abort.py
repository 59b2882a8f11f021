"""A flag that C code looks at while it computes."""

from __future__ import annotations

import ctypes

from g3n_cli.ggml.bindings import ABORT_CALLBACK, ABORT_FLAG_TYPE


class AbortFlag:
    """Stops a computation in C soon after it is set, from any thread.

    ggml asks a function between any two nodes of a graph whether to stop. The function given to it
    is strlen(), the flag a two-byte buffer: "" has length 0, false; any first byte but 0 makes it
    true. So nobody waits for Python's lock thousands of times per token.

    Attributes:
        callback: The function, as a C function pointer.
        address: What the function is to be called with; valid as long as this object lives.
    """

    def __init__(self) -> None:
        self._bytes = ABORT_FLAG_TYPE()
        self.callback = ctypes.cast(ctypes.CDLL(None).strlen, ABORT_CALLBACK)
        self.address = ctypes.addressof(self._bytes)

    def set(self) -> None:
        """Stop what runs, and whatever starts before ``clear``."""
        self._bytes[0] = 1

    def clear(self) -> None:
        """Allow computing again."""
        self._bytes[0] = 0

    def is_set(self) -> bool:
        """Whether the computation is to stop."""
        return bool(self._bytes[0])
