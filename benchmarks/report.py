"""Turn recorded samples into the tables of BENCHMARKS.md; every figure comes from a result file.

``python -m benchmarks.report`` rewrites BENCHMARKS.md from ``results/*.json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import HERE

MARKER = "<!-- everything below is written by `python -m benchmarks.report` -->\n"

Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """A figure derived from one process's samples.

    Attributes:
        title: Row of the table.
        of: The formula.
        is_rate: More is better.
        digits: Digits after the point.
        needs: Setting that is 0 where the part of the run it comes from was left out, if any.
    """

    title: str
    of: Callable[[Sample], float]
    is_rate: bool = False
    digits: int = 2
    needs: str | None = None


def decode_tps(steps_s: Sequence[float]) -> float:
    """Tokens per second of single-token steps."""
    return len(steps_s) / sum(steps_s)


METRICS = (
    Metric("import, s", lambda s: s["import_s"]),
    Metric("load, s", lambda s: s["load_s"]),
    Metric("import + load, s", lambda s: s["import_s"] + s["load_s"]),
    Metric("first token, s", lambda s: s["ttft_s"], needs="n_prompt"),
    Metric("decode, tok/s", lambda s: decode_tps(s["decode_s"]), is_rate=True),
    Metric(
        "four tokens in one step, decode steps",
        lambda s: median(s["four_s"]) / median(s["decode_s"]),
        needs="n_four",
    ),
    Metric("reading the conversation, s", lambda s: s["conversation_s"], needs="depth"),
    Metric(
        "decode after it, tok/s",
        lambda s: decode_tps(s["deep_decode_s"]),
        is_rate=True,
        needs="depth",
    ),
    Metric("next turn, s", lambda s: s["turn_s"], needs="depth"),
    Metric(
        "next turn, decode steps",
        lambda s: s["turn_s"] / median(s["deep_decode_s"]),
        needs="depth",
    ),
    Metric("RSS at the end, 1e9 bytes", lambda s: s["rss_bytes"] / 1e9, digits=3),
    Metric("peak RSS, 1e9 bytes", lambda s: s["peak_rss_bytes"] / 1e9, digits=3),
)


def median_ratio(ours: Sequence[float], theirs: Sequence[float], *, is_rate: bool) -> float:
    """Median over pairs of how many times better ours is; above 1 g3n wins."""
    pairs = zip(ours, theirs, strict=True)
    return median(a / b if is_rate else b / a for a, b in pairs)


def render_compare(result: Mapping[str, Any]) -> str:
    """Table of a ``compare`` result: one row per metric that was measured."""
    rows = []
    models, settings = result["models"], result["settings"]
    measured = [each for each in METRICS if each.needs is None or settings[each.needs]]
    for metric in measured:
        ours, theirs = (
            [metric.of(pair[side]) for pair in result["pairs"]] for side in ("g3n", "llama.cpp")
        )
        ratio = median_ratio(ours, theirs, is_rate=metric.is_rate)
        cells = [metric.title, _spread(ours, metric.digits), _spread(theirs, metric.digits)]
        rows.append([*cells, f"{ratio:.2f}x"])
    heads = [f"{side}, {models[side]['name']}" for side in ("g3n", "llama.cpp")]
    lines = [
        f"{len(result['pairs'])} pairs; {settings['n_threads']} threads, context"
        f" {settings['n_ctx']}, prompt {settings['n_prompt']}, {settings['n_decode']} tokens"
        f" decoded, conversation {settings['depth']}, turn {settings['n_turn']}, kernels"
        f" {settings['kernels']}"
        f"{_options(settings['llama_options'])}",
        "",
        *_table(["median (min-max)", *heads, "g3n better by"], rows),
    ]
    return "\n".join(lines) + "\n"


def render_load(result: Mapping[str, Any]) -> str:
    """Table of a ``load`` result: one row per variant."""
    rows = []
    finished = {name: runs for name, runs in result["variants"].items() if runs}
    for name, runs in finished.items():
        quiet, loaded = (
            [decode_tps(run[state]["decode_s"]) for run in runs] for state in ("quiet", "loaded")
        )
        kept = median(b / a for a, b in zip(quiet, loaded, strict=True))
        rows.append([f"`{name}`", _spread(quiet, 2), _spread(loaded, 2), f"{kept:.2f}"])
    heads = ["median (min-max)", "quiet, tok/s", "loaded, tok/s", "loaded / quiet"]
    settings = result["settings"]
    lines = [
        f"{result['model']['name']}; {settings['n_busy']} busy processes;"
        f" {settings['n_decode']} tokens decoded, {settings['repetitions']} repetitions",
        "",
        *_table(heads, rows),
    ]
    return "\n".join(lines) + "\n"


SIZE_METRICS = ("load, s", "first token, s", "decode, tok/s", "peak RSS, 1e9 bytes")


def render_sizes(result: Mapping[str, Any]) -> str:
    """Table of a ``sizes`` result: one row per size."""
    settings, models = result["settings"], result["models"]
    metrics = [metric for metric in METRICS if metric.title in SIZE_METRICS]
    finished = {name: runs for name, runs in result["sizes"].items() if runs}
    rows = [
        [name, *(_spread([metric.of(run) for run in runs], metric.digits) for metric in metrics)]
        for name, runs in finished.items()
    ]
    lines = [
        f"{models['parent']['name']}, last {models['child']['name']}; up to"
        f" {max(map(len, finished.values()))} runs of each in turns; {settings['n_threads']}"
        f" threads, prompt {settings['n_prompt']}, {settings['n_decode']} tokens decoded",
        "",
        *_table(["median (min-max)", *(metric.title for metric in metrics)], rows),
    ]
    return "\n".join(lines) + "\n"


def render_kernels(result: Mapping[str, Any]) -> str:
    """Table of a ``kernels`` result: G multiply-adds/s, for one token GB/s of weights too."""
    limits, cases = result["limits"], result["cases"]
    names = sorted({name for case in cases for name in case["samples_s"]}, key=_order_of_side)
    rows = []
    for case in cases:
        cells = [f"{case['type']} {case['k']} -> {case['rows']}", str(case["tokens"])]
        for name in names:
            samples = case["samples_s"].get(name)
            work = case["k"] * case["rows"] * case["tokens"]
            cell = f"{work / median(samples) / 1e9:.0f}" if samples else ""
            if samples and case["tokens"] == 1:
                cell += f" ({case['bytes'] / median(samples) / 1e9:.1f} GB/s)"
            cells.append(cell)
        rows.append(cells)
    peaks = limits["multiply_adds_per_s"]
    settings = result["settings"]
    in_registers = ", ".join(f"{name} {peaks[name] / 1e9:.0f}" for name in names if name in peaks)
    lines = [
        f"G multiply-adds/s, medians of {settings['repetitions']}; {settings['n_threads']} threads."
        f" Limits measured beside them: {limits['stream_bytes_per_s'] / 1e9:.1f} GB/s read; in"
        f" registers {in_registers}",
        "",
        *_table(["matrix", "tokens", *names], rows),
    ]
    return "\n".join(lines) + "\n"


def render_audio(result: Mapping[str, Any]) -> str:
    """Table of an ``audio`` result: one row per length and side."""
    runs: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for case in result["cases"]:
        runs.setdefault((case["seconds"], case["side"]), []).append(case)
    rows = []
    for (seconds, side), cases in runs.items():
        times = [time for case in cases for time in case["encode_s"]]
        peak = max(case["peak_rss_bytes"] for case in cases)
        figures = [f"{seconds / median(times):.1f}", f"{peak / 1e9:.2f}"]
        rows.append([f"{seconds} s", side, _spread(times, 2), *figures])
    settings = result["settings"]
    lines = [
        f"{settings['n_threads']} threads, {settings['repetitions']} repetitions in each process",
        "",
        *_table(["sound", "side", "encode, s", "RTFx", "peak RSS, 1e9 bytes"], rows),
    ]
    return "\n".join(lines) + "\n"


def _order_of_side(name: str) -> tuple[bool, str]:
    return not name.startswith("ggml"), name


RENDERERS = {
    "audio": render_audio,
    "compare": render_compare,
    "kernels": render_kernels,
    "load": render_load,
    "sizes": render_sizes,
}


def render_results(folder: Path) -> str:
    """A section per result file of ``folder``, in order of their names."""
    sections = []
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        table = RENDERERS[result["kind"]](result)
        sections.append(f"## {path.stem}\n\n{_describe(result['machine'])}\n\n{table}")
    return "\n".join(sections)


def _spread(values: Sequence[float], digits: int) -> str:
    low, middle, high = (f"{x:.{digits}f}" for x in (min(values), median(values), max(values)))
    return f"{middle} ({low}-{high})"


def _options(options: Mapping[str, Any]) -> str:
    if not options:
        return "; llama-cpp-python's defaults"
    return "; llama.cpp with " + ", ".join(f"{key}={value}" for key, value in options.items())


def _describe(machine: Mapping[str, Any]) -> str:
    openmp = "".join(f", {key}={value}" for key, value in machine["openmp"].items())
    return (
        f"{machine['cpu']} ({' '.join(machine['cpu_features'])}), {machine['cores']} cores,"
        f" {machine['memory_bytes'] / 2**30:.0f} GiB, Linux {machine['kernel']}, Python"
        f" {machine['python']}; g3n {machine['g3n']} ({machine['g3n_commit'][:12]}),"
        f" llama-cpp-python {machine['llama_cpp_python']}, ggml {machine['ggml_version']}"
        f" ({machine['ggml_commit'][:9]}){openmp}"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *("--:" for _ in heads[1:])]
    return ["| " + " | ".join(cells) + " |" for cells in (heads, rule, *rows)]


def main() -> None:
    """Rewrite the generated part of BENCHMARKS.md."""
    page = HERE / "BENCHMARKS.md"
    written_by_hand, _, _ = page.read_text().partition(MARKER)
    page.write_text(written_by_hand + MARKER + "\n" + render_results(HERE / "results"))


if __name__ == "__main__":
    main()
