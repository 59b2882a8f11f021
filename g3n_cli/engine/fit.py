"""Refusing what does not fit into memory, with the settings that would."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import psutil

from g3n_cli.config import EngineSettings, KvType
from g3n_cli.engine.estimate import estimate, name_sizes
from g3n_cli.engine.gguf import GgufFile
from g3n_cli.engine.hparams import ARCHITECTURE
from g3n_cli.errors import DoesNotFitError, UsageError
from g3n_cli.units import format_bytes

LEAST_CTX = 512
_NEVER = 1 << 62
_CTX_STEP = 256
_SMALLER_KV: dict[KvType, tuple[KvType, ...]] = {
    "f32": ("f16", "q8_0", "q4_0"),
    "f16": ("q8_0", "q4_0"),
    "q8_0": ("q4_0",),
    "q4_0": (),
}


def read_available() -> int:
    """Bytes of memory that are free now, or can be freed at once."""
    return int(psutil.virtual_memory().available)


def check_fits(
    gguf: GgufFile,
    settings: EngineSettings,
    what: str,
    read_free: Callable[[], int] = read_available,
) -> None:
    """Refuse a model that would not fit into the memory that is free now.

    What lies on a device is not counted here, and so nothing where there is one.

    Args:
        gguf: A validated file.
        settings: How it is to be run; its size is not ``auto``.
        what: Its name.
        read_free: Bytes that are free.

    Raises:
        DoesNotFitError: names what would fit.
        UsageError: a setting the model does not allow.
    """
    if not settings.is_on_cpu:
        return
    free = read_free()
    try:
        needed = estimate(gguf, settings).total
    except DoesNotFitError:  # not even the address space
        needed = _NEVER
    if needed <= free:
        return
    fitting = find_fitting(gguf, settings, free)
    hint = "; ".join(f"{flags} fits" for flags in fitting)
    need = f"{format_bytes(needed)} of memory" if needed != _NEVER else "more memory than there is"
    raise DoesNotFitError(
        f"{what} needs {need}, {format_bytes(free)} are free",
        hint or "close other programs or choose a smaller model",
    )


def find_fitting(gguf: GgufFile, settings: EngineSettings, free: int) -> list[str]:
    """Changes of one setting after which a model fits, else the changes of several that it takes.

    Returns:
        Flags, what loses least first.
    """
    single = [flags for flags in _find_single(gguf, settings, free) if flags]
    if single:
        return single
    smallest, flags = settings, []
    for name, value in _list_least(gguf, settings):
        smallest = _change(smallest, name, value)
        flags.append(f"--{name} {value}")
        if _count(gguf, smallest) <= free:
            return [" ".join(flags)]
    return []


def _find_single(gguf: GgufFile, settings: EngineSettings, free: int) -> Iterator[str | None]:
    def first(name: str, values: Iterable[str]) -> str | None:
        fitting = (v for v in values if _count(gguf, _change(settings, name, v)) <= free)
        value = next(fitting, None)
        return None if value is None else f"--{name} {value}"

    if gguf.architecture == ARCHITECTURE and settings.ple == "ram":
        yield first("ple", ("disk",))
    yield first("kv", _SMALLER_KV[settings.kv])
    yield _find_ctx(gguf, settings, free)
    yield first("size", _list_smaller(gguf, settings))


def _find_ctx(gguf: GgufFile, settings: EngineSettings, free: int) -> str | None:
    """The longest context that fits, in steps."""
    low, high = LEAST_CTX // _CTX_STEP, settings.n_ctx // _CTX_STEP
    if low >= high or _count(gguf, replace(settings, n_ctx=low * _CTX_STEP)) > free:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        fits = _count(gguf, replace(settings, n_ctx=middle * _CTX_STEP)) <= free
        low, high = (middle, high) if fits else (low, middle)
    return f"--ctx {low * _CTX_STEP}"


def _list_least(gguf: GgufFile, settings: EngineSettings) -> Iterator[tuple[str, str]]:
    """Settings that take least, what loses least first."""
    if gguf.architecture == ARCHITECTURE and settings.ple == "ram":
        yield "ple", "disk"
    kinds = [kind for kind in _SMALLER_KV[settings.kv] if kind == "q8_0"]
    yield from (("kv", kind) for kind in kinds if _count(gguf, replace(settings, kv=kind)) < _NEVER)
    if settings.n_ctx > LEAST_CTX:
        yield "ctx", str(LEAST_CTX)
    if smaller := _list_smaller(gguf, settings):
        yield "size", smaller[-1]


def _list_smaller(gguf: GgufFile, settings: EngineSettings) -> tuple[str, ...]:
    """Sizes on offer below the one that was asked for, the largest first."""
    if settings.keep_resident:
        return ()
    names = name_sizes(gguf, settings)
    sizes = {name: _count(gguf, _change(settings, "size", name)) for name in names[1:]}
    whole = _count(gguf, settings)
    return tuple(name for name, n_bytes in sizes.items() if n_bytes < whole)


def _change(settings: EngineSettings, name: str, value: str) -> EngineSettings:
    if name == "ctx":
        return replace(settings, n_ctx=int(value))
    if name == "size":
        return replace(settings, size=value, prefill_size=None)
    return replace(settings, **{name: value})  # type: ignore[arg-type]  # kv and ple are texts


def _count(gguf: GgufFile, settings: EngineSettings) -> int:
    """Bytes that settings take; more than any machine has where they are not allowed."""
    try:
        return estimate(gguf, settings).total
    except (DoesNotFitError, UsageError):
        return _NEVER
