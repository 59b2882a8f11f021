"""Samples and results without a measurement."""

from dataclasses import replace

from g3n_cli.bench.memory import PARTS, Counters, Ledger
from g3n_cli.bench.result import CaseResult, Report
from g3n_cli.bench.sample import Sample

LEDGER = Ledger(
    rss_bytes=80_000_000,
    pss_bytes=70_000_000,
    uss_bytes=60_000_000,
    reclaimable_bytes=10_000_000,
    parts=dict.fromkeys(PARTS, 10_000_000),
)
QUIET = Counters(minor_faults=100, major_faults=0, read_bytes=0, switches=1, cpu_s=1.0)


def make_sample(ttft_s=0.5, gaps_s=(0.1, 0.1, 0.1), **changes):
    return Sample(
        load_s=0.2,
        ttft_s=ttft_s,
        prefill_s=ttft_s,
        gaps_s=tuple(gaps_s),
        peak_load_rss_bytes=90_000_000,
        peak_run_rss_bytes=85_000_000,
        ledger=replace(LEDGER, **changes.pop("ledger", {})),
        prefill=QUIET,
        decode=QUIET,
        **{"other_cpus": 0.0, "stolen": 0.0, **changes},
    )


def make_result(*samples, n_prompt=8, n_gen=3, n_depth=0, model="tiny", warnings=(), **settings):
    return CaseResult(
        label=f"pp{n_prompt}+tg{n_gen}" + (f" @ d{n_depth}" if n_depth else ""),
        model=model,
        device="cpu",
        n_prompt=n_prompt,
        n_gen=n_gen,
        n_depth=n_depth,
        n_ctx=n_prompt + n_gen + n_depth,
        settings={"n_threads": 1, "kv": "f16", **settings},
        samples=samples or (make_sample(),),
        warnings=tuple(warnings),
    )


def make_report(*results, comparisons=()):
    environment = {"time": "2026-11-25T00:00:00+00:00", "cpu": "Some CPU", "cores": 2}
    return Report(environment, results or (make_result(),), tuple(comparisons))
