"""Two or more reports side by side: ratios to the first one, and conditions on them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from g3n_cli.bench.result import FIGURES, Report, list_shown
from g3n_cli.bench.table import NOTHING, Table, name_cases
from g3n_cli.errors import InputError, UsageError

_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*(\d*\.?\d+)\s*")
_MOST_NAMED = 3
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Condition:
    """What must not be: ``decode_tps < 0.95`` of the first report.

    Attributes:
        figure: Whose ratio.
        sign: How it is compared.
        limit: With what.
    """

    figure: str
    sign: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Condition:
        """The condition that a person has written.

        Raises:
            UsageError: it is none.
        """
        if not (found := _CONDITION.fullmatch(text)):
            hint = "for example --fail-if 'decode_tps < 0.95'"
            raise UsageError(f"--fail-if {text!r} is no condition", hint)
        names = [figure.name for figure in FIGURES]
        if found[1] not in names:
            raise UsageError(f"there is no figure {found[1]!r}", f"there is {', '.join(names)}")
        return cls(found[1], found[2], float(found[3]))

    def is_met(self, ratio: float) -> bool:
        """Whether a ratio is one that must not be."""
        return _OPERATORS[self.sign](ratio, self.limit)

    def __str__(self) -> str:
        return f"{self.figure} {self.sign} {self.limit:g}"


@dataclass(frozen=True)
class Row:
    """A case of one report beside the same of the first.

    Attributes:
        case: What both call it.
        source: Of the other report.
        ratios: other / first, by figure; None where either has none.
    """

    case: str
    source: str
    ratios: dict[str, float | None]


def compare_reports(reports: Sequence[tuple[str, Report]]) -> list[Row]:
    """All cases that the first report and others share.

    A case is the same if its label and whatever varies within its report are: so two runs with
    other settings, each the same for all its cases, are compared case by case.

    Args:
        reports: Sources and reports, the first one being what the others are compared with.

    Raises:
        InputError: one of them shares nothing with the first.
    """
    (first_source, first), *others = reports
    base = dict(zip(name_cases(first.cases), first.cases, strict=True))
    rows = []
    for source, report in others:
        shared = [
            Row(name, source, _divide(result.figures, base[name].figures))
            for name, result in zip(name_cases(report.cases), report.cases, strict=True)
            if name in base
        ]
        if not shared:
            raise InputError(f"no case of {first_source} is in {source}")
        rows += shared
    return rows


def find_missing(reports: Sequence[tuple[str, Report]]) -> Iterator[str]:
    """Cases that the first report or another has alone, in words: nothing is told of them."""
    (first_source, first), *others = reports
    base = name_cases(first.cases)
    for source, report in others:
        names = name_cases(report.cases)
        for has, those, lacks, these in (
            (first_source, base, source, names),
            (source, names, first_source, base),
        ):
            if alone := [name for name in those if name not in these]:
                more = f" and {len(alone) - _MOST_NAMED} more" if len(alone) > _MOST_NAMED else ""
                yield f"{has} has {', '.join(alone[:_MOST_NAMED])}{more}, {lacks} has not"


def find_met(rows: Sequence[Row], condition: Condition) -> Iterator[str]:
    """What is wrong, in words.

    Raises:
        InputError: no case of a report has the figure: the condition would never be met.
    """
    known = [(row, ratio) for row in rows if (ratio := row.ratios[condition.figure]) is not None]
    for source in dict.fromkeys(row.source for row in rows):
        if not any(row.source == source for row, _ in known):
            raise InputError(f"no case has {condition.figure} in the first file and in {source}")
    for row, ratio in known:
        if condition.is_met(ratio):
            yield f"{row.case}: {condition.figure} of {row.source} is {ratio:.3f} of the first"


def make_ratio_table(rows: Sequence[Row]) -> Table:
    """A line for each row; above 1 is more than in the first report."""
    has_sources = len({row.source for row in rows}) > 1
    shown = list_shown(row.ratios for row in rows)
    cells = [
        (
            row.case,
            *([row.source] if has_sources else []),
            *(_format_ratio(row.ratios[figure.name]) for figure in shown),
        )
        for row in rows
    ]
    heads = ("case", *(["file"] if has_sources else []))
    return Table((*heads, *(f.title for f in shown)), tuple(cells), len(heads))


def _format_ratio(ratio: float | None) -> str:
    return NOTHING if ratio is None else f"{ratio:.2f}x"


def _divide(a: dict[str, float | None], b: dict[str, float | None]) -> dict[str, float | None]:
    return {name: x / y if (x := a[name]) is not None and (y := b[name]) else None for name in a}
