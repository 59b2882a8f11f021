"""Whether figures can be trusted, and what to do if not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from g3n_cli.bench.metrics import median, spread
from g3n_cli.bench.result import CaseResult
from g3n_cli.bench.sample import Sample, decode_tps
from g3n_cli.bench.table import name_cases

MOST_SPREAD = 0.10
MOST_OTHER_CPUS = 0.10
MOST_STOLEN = 0.02
MOST_SWITCHES_PER_S = 50.0


def find_noise(samples: Sequence[Sample], n_threads: int, n_cores: int) -> Iterator[str]:
    """Warnings about the repetitions of a case, each with what to do.

    Args:
        samples: Of the case.
        n_threads: That it computed with.
        n_cores: Processors it could use.
    """
    spreads: tuple[tuple[str, Callable[[Sample], float | None]], ...] = (
        ("first tokens", lambda sample: sample.ttft_s),
        ("decode speeds", decode_tps),
        ("encodings", lambda sample: sample.encode_s),
    )
    for what, pick in spreads:
        found = spread([value for sample in samples if (value := pick(sample)) is not None])
        if found is not None and found > MOST_SPREAD:
            yield f"{what} differ by {found:.0%} of their median: raise -r, or quieten the machine"
    others = _middle(samples, lambda sample: sample.other_cpus)
    if others > MOST_OTHER_CPUS:
        yield f"other programs kept {others:.1f} cores busy: close other programs"
        if n_threads >= n_cores > 1:
            yield f"all {n_cores} cores compute: -t {n_cores - 1} may be steadier, and faster"
    elif _middle(samples, _switches_per_s) > MOST_SWITCHES_PER_S:
        yield "the system took the processor away again and again: lower -t"
    if (stolen := _middle(samples, lambda sample: sample.stolen)) > MOST_STOLEN:
        yield f"the host of this virtual machine took {stolen:.0%} of the time: try at another hour"
    if any(sample.throttled for sample in samples):
        yield "the processor was slowed down by its temperature: let it cool, or lower -t"


def summarize_warnings(results: Sequence[CaseResult]) -> Iterator[str]:
    """A line for each case that has any, then all advice once."""
    advice: dict[str, None] = {}
    for name, result in zip(name_cases(results), results, strict=True):
        found = [warning.partition(": ") for warning in result.warnings]
        advice |= dict.fromkeys(what_to_do for _, _, what_to_do in found if what_to_do)
        if found:
            yield f"warning: {name}: {', '.join(what for what, _, _ in found)}"
    if advice:
        yield f"hint: {'; '.join(advice)}"


def _middle(samples: Sequence[Sample], pick: Callable[[Sample], float | None]) -> float:
    return median([value for sample in samples if (value := pick(sample)) is not None]) or 0.0


def _switches_per_s(sample: Sample) -> float | None:
    if sample.prefill is None or sample.decode is None:
        return None
    seconds = (sample.ttft_s or 0.0) + sum(sample.gaps_s)
    return (sample.prefill.switches + sample.decode.switches) / seconds if seconds else 0.0
