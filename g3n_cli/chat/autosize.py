"""Keeping a Gemma 3n as large as the machine allows: by free memory, and by a wanted speed."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import psutil

from g3n_cli.engine.api import Engine, SizeInfo
from g3n_cli.engine.prompt import Prompt

SHORT_BYTES = 200_000_000
"""Free memory below which a smaller size is taken."""

_N_WARM_UP, _N_MEASURED = 2, 6


class AutoSize:
    """Chooses among the sizes that a model offers.

    Args:
        engine: An open model.
        min_tps: Tokens per second that decoding is to reach, if the smallest size does; or None.
        read_free: Bytes of memory that are free.
    """

    def __init__(
        self,
        engine: Engine,
        min_tps: float | None = None,
        read_free: Callable[[], int] = lambda: int(psutil.virtual_memory().available),
    ) -> None:
        self._engine, self._min_tps, self._read_free = engine, min_tps, read_free

    def choose(self) -> str:
        """Go down until decoding is fast enough; the context is empty then. Says what was found."""
        found = []
        while self._min_tps is not None:
            speed = measure_decode_tps(self._engine)
            found.append(f"{self._engine.info.size} decodes {speed:.1f} tokens/s")
            smaller = self._find_smaller()
            if speed >= self._min_tps or smaller is None:
                break
            self._engine.resize(smaller.name, recompute=True)
        return "; ".join([f"size {self._engine.info.size}", *found])

    def check(self) -> str | None:
        """Take a smaller size if memory has become short, and say so."""
        free = self._read_free()
        smaller = self._find_smaller()
        if free >= SHORT_BYTES or smaller is None:
            return None
        self._engine.resize(smaller.name)
        return f"{free / 1e6:.0f} MB of memory are free: going on as {smaller.name}"

    def _find_smaller(self) -> SizeInfo | None:
        """The next smaller size on offer."""
        sizes = self._engine.sizes
        names = [size.name for size in sizes]
        if self._engine.info.size not in names:
            return None
        after = names.index(self._engine.info.size) + 1
        return sizes[after] if after < len(sizes) else None


def measure_decode_tps(engine: Engine) -> float:
    """Tokens per second of an engine whose context is empty; it is emptied again."""
    first = engine.tokenizer.bos_id or 0
    engine.prefill(Prompt.of_ids([first]))
    seconds = []
    for _ in range(_N_WARM_UP + _N_MEASURED):
        started = time.perf_counter()
        engine.decode(first)
        seconds.append(time.perf_counter() - started)
    engine.resize(engine.info.size, recompute=True)
    return 1 / median(seconds[_N_WARM_UP:])
