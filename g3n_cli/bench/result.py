"""The one form of results: what a run has measured, and the JSON that it becomes.

``FIGURES`` declares each figure once; tables, files, comparisons and docs/bench.md follow from it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from g3n_cli.bench.case import Case
from g3n_cli.bench.memory import Ledger
from g3n_cli.bench.metrics import PERCENTILES, median, percentile, rate
from g3n_cli.bench.sample import Sample, decode_tps
from g3n_cli.bench.typed import find_misfit
from g3n_cli.errors import InputError

SCHEMA = 1


@dataclass(frozen=True)
class CaseResult:
    """A case and what came out, in plain values: other versions' settings can be read too.

    Attributes:
        label: Of the case, such as ``pp512+tg64 @ d4096``.
        model: Its name.
        device: Where it ran: a device of this machine, or a server's address.
        n_prompt: Tokens of the prompt; 0 for none.
        n_gen: Tokens decoded after the first.
        n_depth: Tokens in the context before.
        n_ctx: Positions of the context.
        settings: All others, by name; none of a server.
        samples: One for each repetition so far.
        warnings: Why its figures may not be trusted.
        medium: What the prompt begins with, by name; None for text alone.
    """

    label: str
    model: str
    device: str
    n_prompt: int
    n_gen: int
    n_depth: int
    n_ctx: int
    settings: dict[str, Any]
    samples: tuple[Sample, ...] = ()
    warnings: tuple[str, ...] = ()
    medium: str | None = None

    @classmethod
    def of(cls, case: Case, samples: Sequence[Sample], warnings: Sequence[str]) -> CaseResult:
        """The result of a case."""
        return cls(
            label=case.label,
            model=case.model.name,
            device=case.device,
            n_prompt=case.n_prompt,
            n_gen=case.n_gen,
            n_depth=case.n_depth,
            n_ctx=case.settings.n_ctx,
            settings=case.recorded_settings,
            samples=tuple(samples),
            warnings=tuple(warnings),
            medium=case.medium.name if case.medium else None,
        )

    @property
    def figures(self) -> dict[str, float | None]:
        """Each of ``FIGURES`` by name; None without meaning."""
        return {figure.name: figure.compute(self) for figure in FIGURES}

    def to_json(self) -> dict[str, Any]:
        """The case, its settings, its figures and its raw samples."""
        values = dataclasses.asdict(self)
        samples, warnings = values.pop("samples"), values.pop("warnings")
        count = {"repetitions": len(samples)}
        return {**values, **count, **self.figures, "warnings": warnings, "samples": samples}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> CaseResult:
        """The result that ``to_json`` wrote; its figures are worked out again.

        Results written before there were media have none.
        """
        values = {"medium": None, **values}
        kept = {each.name: values[each.name] for each in dataclasses.fields(cls)}
        kept["samples"] = tuple(map(Sample.from_json, values["samples"]))
        kept["warnings"] = tuple(values["warnings"])
        return cls(**kept)


Compute = Callable[[CaseResult], float | None]


@dataclass(frozen=True)
class Figure:
    """One number of a case.

    Attributes:
        name: Its key in JSON and its column elsewhere.
        title: Its head in a table.
        meaning: One line for docs/bench.md.
        compute: Works it out from all samples of a case.
        is_shown: It has a column in tables.
        is_rare: That column is left out where no case has the figure.
    """

    name: str
    title: str
    meaning: str
    compute: Compute
    is_shown: bool = True
    is_rare: bool = False


def _median_of(pick: Callable[[Sample], float | None]) -> Compute:
    def compute(result: CaseResult) -> float | None:
        return median([value for s in result.samples if (value := pick(s)) is not None])

    return compute


def _median_of_ledger(pick: Callable[[Ledger], float]) -> Compute:
    return _median_of(lambda s: None if s.ledger is None else pick(s.ledger))


def _gap_percentile(percent: int) -> Compute:
    def compute(result: CaseResult) -> float | None:
        return percentile([gap for sample in result.samples for gap in sample.gaps_s], percent)

    return compute


def _prefill_tps(result: CaseResult) -> float | None:
    rates = [
        rate(result.n_prompt + (sample.media_tokens or 0), sample.prefill_s)
        for sample in result.samples
    ]
    return median([value for value in rates if value is not None])


def _rtfx(sample: Sample) -> float | None:
    return None if sample.sound_s is None else rate(sample.sound_s, sample.encode_s)


def _bytes_per_token(sample: Sample) -> float | None:
    n_bytes = None if sample.decode is None else sample.decode.read_bytes
    return n_bytes / len(sample.gaps_s) if n_bytes is not None and sample.gaps_s else None


def _faults_per_token(sample: Sample) -> float | None:
    if sample.decode is None:
        return None
    faults = sample.decode.minor_faults + sample.decode.major_faults
    return faults / len(sample.gaps_s) if sample.gaps_s else None


FIGURES = (
    Figure(
        "ttft_s",
        "TTFT",
        "median seconds from the request to the choice of the first token",
        _median_of(lambda sample: sample.ttft_s),
    ),
    Figure(
        "prefill_tps",
        "prefill/s",
        "median tokens of the prompt, those of a medium included / seconds computing it",
        _prefill_tps,
    ),
    Figure(
        "decode_tps",
        "decode/s",
        "median tokens after the first / seconds after the first",
        _median_of(decode_tps),
    ),
    *(
        Figure(
            f"itl_p{percent}_s",
            f"itl p{percent}",
            f"{percent} % of all gaps between two tokens, of all repetitions, are shorter; seconds",
            _gap_percentile(percent),
        )
        for percent in PERCENTILES
    ),
    Figure(
        "encode_s",
        "encode",
        "median seconds encoding a picture or sound, opening its encoder included",
        _median_of(lambda sample: sample.encode_s),
        is_rare=True,
    ),
    Figure(
        "rtfx",
        "RTFx",
        "median seconds of sound / `encode_s`; null with pictures",
        _median_of(_rtfx),
        is_rare=True,
    ),
    Figure(
        "media_tokens",
        "tokens",
        "median positions of the prompt that a medium takes, padding and end marks included",
        _median_of(lambda sample: sample.media_tokens),
        is_rare=True,
    ),
    Figure(
        "read_s",
        "file read",
        "median seconds reading, decoding and resampling a medium's file, before the request",
        _median_of(lambda sample: sample.read_s),
        is_shown=False,
    ),
    Figure(
        "peak_rss_bytes",
        "peak RSS",
        "median of the most memory resident at once, loading and encoders included",
        _median_of(lambda sample: sample.peak_rss_bytes),
    ),
    Figure(
        "steady_rss_bytes",
        "RSS",
        "median of the memory resident after the last token",
        _median_of_ledger(lambda ledger: ledger.rss_bytes),
    ),
    Figure(
        "steady_pss_bytes",
        "PSS",
        "the same, of what is shared with other processes only this one's share",
        _median_of_ledger(lambda ledger: ledger.pss_bytes),
        is_shown=False,
    ),
    Figure(
        "steady_uss_bytes",
        "USS",
        "the same without what is shared",
        _median_of_ledger(lambda ledger: ledger.uss_bytes),
        is_shown=False,
    ),
    Figure(
        "load_s",
        "load",
        "median seconds opening the model",
        _median_of(lambda sample: sample.load_s),
        is_shown=False,
    ),
    Figure(
        "read_bytes_per_token",
        "read/token",
        "median bytes that came from a disk / tokens after the first",
        _median_of(_bytes_per_token),
        is_shown=False,
    ),
    Figure(
        "faults_per_token",
        "faults/token",
        "median page faults / tokens after the first",
        _median_of(_faults_per_token),
        is_shown=False,
    ),
    Figure(
        "energy_j",
        "energy",
        "median joules of the processors' packages from request to last token, where they tell",
        _median_of(lambda sample: sample.energy_j),
        is_shown=False,
    ),
)


def list_shown(values: Iterable[Mapping[str, float | None]]) -> list[Figure]:
    """Figures with a column in tables of such values: rare ones only if one of them has it."""
    found = list(values)
    return [
        figure
        for figure in FIGURES
        if figure.is_shown
        and not (figure.is_rare and all(each[figure.name] is None for each in found))
    ]


@dataclass(frozen=True)
class Comparison:
    """The outcome of ``--ab`` for one case and one figure.

    Attributes:
        label: Of the case, with what else tells it from others.
        setting: What differs.
        a: One value of it.
        b: The other.
        figure: What is compared.
        ratio: a / b: geometric mean over pairs.
        low: Lower end of its 95 % confidence interval.
        high: Upper end.
        n_pairs: Pairs of repetitions.
        sentence: The outcome in words.
    """

    label: str
    setting: str
    a: str
    b: str
    figure: str
    ratio: float
    low: float
    high: float
    n_pairs: int
    sentence: str


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


@dataclass(frozen=True)
class Report:
    """A whole run, complete or not.

    Attributes:
        environment: The machine, the program, the models; plain values.
        cases: In the order of the sweep.
        comparisons: Of ``--ab``.
    """

    environment: dict[str, Any]
    cases: tuple[CaseResult, ...]
    comparisons: tuple[Comparison, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Plain values in the documented form."""
        return {
            "schema": SCHEMA,
            "environment": self.environment,
            "cases": [result.to_json() for result in self.cases],
            "comparisons": [dataclasses.asdict(each) for each in self.comparisons],
        }

    @classmethod
    def parse(cls, text: str, source: str) -> Report:
        """The report that ``to_json`` wrote.

        Args:
            text: JSON.
            source: Where it comes from, for messages.

        Raises:
            InputError: it is something else, or of another version.
        """
        try:
            values = json.loads(text, parse_constant=_refuse_constant)
            schema = values["schema"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(f"{source} is no result of g3n bench -o json") from error
        if schema != SCHEMA:
            hint = "measure again, or use the g3n that wrote it"
            raise InputError(f"{source} has schema {schema}, this g3n reads {SCHEMA}", hint)
        try:
            report = cls(
                environment=dict(values["environment"]),
                cases=tuple(map(CaseResult.from_json, values["cases"])),
                comparisons=tuple(Comparison(**each) for each in values["comparisons"]),
            )
        except KeyError as error:
            raise InputError(f"{source} is damaged: it has no {error}") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{source} is damaged: {error!r}") from error
        if place := find_misfit(report, cls, ""):
            raise InputError(f"{source} is damaged: {place.removeprefix('.')} is of a wrong kind")
        return report
