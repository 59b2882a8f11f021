"""Numbers between two bounds, as grammar."""

from __future__ import annotations

from g3n_cli.chat.schema.gbnf import choose

ANY_INTEGER = '("-"? ("0" | [1-9] [0-9]{0,15}))'
ANY_NUMBER = '("-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?)'

_FRACTION = '("." [0-9]{1,16})?'
_NO_FRACTION = '("." "0")?'


def write_integer(lo: int, hi: int) -> str:
    """All integers from ``lo`` to ``hi``, which is not smaller."""
    parts = []
    if lo < 0:
        parts.append('"-" ' + choose(_list_naturals(max(1, -hi), -lo)))
    if hi >= 0:
        parts += _list_naturals(max(0, lo), hi)
    return choose(parts)


def write_number(lo: int, hi: int) -> str:
    """Decimal fractions from ``lo`` to ``hi``, which is not smaller."""
    parts = []
    if lo < 0:
        parts.append('"-" ' + _write_decimal(max(0, -hi), -lo))
    if hi >= 0:
        parts.append(_write_decimal(max(0, lo), hi))
    return choose(parts)


def _write_decimal(lo: int, hi: int) -> str:
    """Decimal fractions between two natural numbers."""
    last = f'"{hi}" {_NO_FRACTION}'
    if lo == hi:
        return f"({last})"
    return f"({choose(_list_naturals(lo, hi - 1))} {_FRACTION} | {last})"


def _list_naturals(lo: int, hi: int) -> list[str]:
    """Alternatives for all natural numbers from ``lo`` to ``hi``, by their number of digits."""
    parts = []
    for n in range(len(str(lo)), len(str(hi)) + 1):
        first = max(lo, 10 ** (n - 1) if n > 1 else 0)
        parts += _list_alike(str(first), str(min(hi, 10**n - 1)))
    return parts


def _list_alike(lo: str, hi: str) -> list[str]:
    """Alternatives for digits from ``lo`` to ``hi``, which are as many."""
    if not lo.strip("0") and not hi.strip("9"):
        return [_write_digits(len(lo))]
    if len(lo) == 1:
        return [_write_digit(int(lo), int(hi))]
    if lo[0] == hi[0]:
        return [f'"{lo[0]}" {choose(_list_alike(lo[1:], hi[1:]))}']
    n = len(lo) - 1
    first, last = int(lo[0]), int(hi[0])
    parts = []
    if lo[1:].strip("0"):
        parts.append(f'"{first}" {choose(_list_alike(lo[1:], "9" * n))}')
        first += 1
    end = None
    if hi[1:].strip("9"):
        end = f'"{last}" {choose(_list_alike("0" * n, hi[1:]))}'
        last -= 1
    if first <= last:
        parts.append(f"{_write_digit(first, last)} {_write_digits(n)}")
    return [*parts, end] if end else parts


def _write_digit(lo: int, hi: int) -> str:
    return f'"{lo}"' if lo == hi else f"[{lo}-{hi}]"


def _write_digits(n: int) -> str:
    return "[0-9]" if n == 1 else f"[0-9]{{{n}}}"
