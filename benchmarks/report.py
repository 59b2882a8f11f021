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
from benchmarks.report_media import render_audio, render_vision
from benchmarks.tables import spread, table
from g3n_cli.bench.charts import Chart, Series
from g3n_cli.bench.draw import draw_svg

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
        cells = [metric.title, spread(ours, metric.digits), spread(theirs, metric.digits)]
        rows.append([*cells, f"{ratio:.2f}x"])
    heads = [f"{side}, {models[side]['name']}" for side in ("g3n", "llama.cpp")]
    lines = [
        f"{len(result['pairs'])} pairs; {settings['n_threads']} threads, context"
        f" {settings['n_ctx']}, prompt {settings['n_prompt']}, {settings['n_decode']} tokens"
        f" decoded, conversation {settings['depth']}, turn {settings['n_turn']}, kernels"
        f" {settings['kernels']}"
        f"{_options(settings['llama_options'])}",
        "",
        *table(["median (min-max)", *heads, "g3n better by"], rows),
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
        rows.append([f"`{name}`", spread(quiet, 2), spread(loaded, 2), f"{kept:.2f}"])
    heads = ["median (min-max)", "quiet, tok/s", "loaded, tok/s", "loaded / quiet"]
    settings = result["settings"]
    lines = [
        f"{result['model']['name']}; {settings['n_busy']} busy processes;"
        f" {settings['n_decode']} tokens decoded, {settings['repetitions']} repetitions",
        "",
        *table(heads, rows),
    ]
    return "\n".join(lines) + "\n"


SIZE_METRICS = ("load, s", "first token, s", "decode, tok/s", "peak RSS, 1e9 bytes")


def render_sizes(result: Mapping[str, Any]) -> str:
    """Table of a ``sizes`` result: one row per size."""
    settings, models = result["settings"], result["models"]
    metrics = [metric for metric in METRICS if metric.title in SIZE_METRICS]
    finished = {name: runs for name, runs in result["sizes"].items() if runs}
    rows = [
        [name, *(spread([metric.of(run) for run in runs], metric.digits) for metric in metrics)]
        for name, runs in finished.items()
    ]
    lines = [
        f"{models['parent']['name']}, last {models['child']['name']}; up to"
        f" {max(map(len, finished.values()))} runs of each in turns; {settings['n_threads']}"
        f" threads, prompt {settings['n_prompt']}, {settings['n_decode']} tokens decoded",
        "",
        *table(["median (min-max)", *(metric.title for metric in metrics)], rows),
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
        *table(["matrix", "tokens", *names], rows),
    ]
    return "\n".join(lines) + "\n"


MATRIX_METRICS = (
    Metric("first token, s", lambda s: s["ttft_s"] or s["turn_s"]),
    Metric(
        "decode, tok/s", lambda s: decode_tps(s["deep_decode_s"] or s["decode_s"]), is_rate=True
    ),
    Metric("peak RSS, 1e9 bytes", lambda s: s["peak_rss_bytes"] / 1e9, digits=3),
)
SIDES = ("g3n", "llama.cpp")


def render_matrix(result: Mapping[str, Any]) -> str:
    """Table of a ``matrix`` result: one row per model, depth and prompt."""
    settings = result["settings"]
    rows = []
    for cell in result["cells"]:
        row = [cell["model"], str(cell["depth"]), str(cell["n_prompt"])]
        if not cell["pairs"]:
            row.append(cell["not_run"] or "not run yet")
        for metric in MATRIX_METRICS if cell["pairs"] else ():
            sides = [[metric.of(pair[side]) for pair in cell["pairs"]] for side in _sides_of(cell)]
            row += [f"{median(x):.{metric.digits}f}" for x in sides]
            if cell["alone"]:
                row += ["-", ""]
            else:
                row.append(f"{median_ratio(*sides, is_rate=metric.is_rate):.2f}x")
        rows.append(row)
    heads = ["model", "depth", "prompt"]
    for metric in MATRIX_METRICS:
        heads += [f"{metric.title}: g3n", "llama.cpp", "g3n better by"]
    rows = [row + [""] * (len(heads) - len(row)) for row in rows]
    lines = [
        f"Up to {settings['pairs']} pairs of each; medians; {settings['n_threads']} threads,"
        f" {settings['n_decode']} tokens decoded; llama-cpp-python's defaults. At depth 0 decoding"
        " follows one token, else the conversation",
        "",
        *table(heads, rows),
    ]
    refused = {cell["model"]: cell["alone"] for cell in result["cells"] if cell["alone"]}
    lines += [f"\n{model}: llama.cpp cannot load {why}" for model, why in refused.items()]
    return "\n".join(lines) + "\n"


def _sides_of(cell: Mapping[str, Any]) -> Sequence[str]:
    return SIDES[:1] if cell["alone"] else SIDES


def chart_matrix(result: Mapping[str, Any]) -> list[Chart]:
    """First tokens over prompt lengths, a chart for each model that has run."""
    first_token, charts = MATRIX_METRICS[0], []
    for model in result["models"]:
        cells = [cell for cell in result["cells"] if cell["model"] == model and cell["pairs"]]
        series = [
            Series(
                f"{side}, depth {depth:,}",
                tuple(
                    (cell["n_prompt"], median(first_token.of(pair[side]) for pair in cell["pairs"]))
                    for cell in cells
                    if cell["depth"] == depth
                ),
            )
            for depth in dict.fromkeys(cell["depth"] for cell in cells)
            for side in _sides_of(cells[0])
        ]
        if series:
            title = f"First token, {model}"
            charts.append(Chart(title, "tokens of the prompt", "s", tuple(series)))
    return charts


PEER_METRICS = (
    Metric("load, s", lambda s: s["load_s"]),
    Metric("first token, s", lambda s: s["ttft_s"]),
    Metric("prefill, tok/s", lambda s: s["prefill_tps"], digits=1),
    Metric("decode, tok/s", lambda s: s["decode_tps"]),
    Metric("peak RSS, 1e9 bytes", lambda s: s["peak_rss_bytes"] / 1e9, digits=3),
)


def render_peers(result: Mapping[str, Any]) -> str:
    """Table of a ``peers`` result: one row per program, with those that were not run."""
    settings, rows = result["settings"], []
    for name, runs in result["runs"].items():
        row = [f"{name}, {result['models'][name]['name']}"]
        for metric in PEER_METRICS:
            is_known = runs and (metric.digits != 3 or runs[0]["peak_rss_bytes"] is not None)
            values = [metric.of(run) for run in runs] if is_known else []
            row.append(spread(values, metric.digits) if values else "not known")
        rows.append(row)
    for name, why in result["not_run"].items():
        rows.append([name, f"not run: {why}", *[""] * (len(PEER_METRICS) - 1)])
    lines = [
        f"Runs in turns; {settings['n_threads']} threads, prompt {settings['n_prompt']},"
        f" {settings['n_decode']} tokens decoded; each program's own figures",
        "",
        *table(["median (min-max)", *(metric.title for metric in PEER_METRICS)], rows),
    ]
    return "\n".join(lines) + "\n"


def render_map(result: Mapping[str, Any]) -> str:
    """Table of a ``map`` result: one row per length of what the prompts share."""
    settings, rows = result["settings"], []
    for case in result["cases"]:
        sides = list(case["runs"].values())
        pairs = list(zip(*sides, strict=False))  # of an interrupted run the last may lack its other
        if not pairs:
            continue
        walls = [[pair[side]["wall_s"] for pair in pairs] for side in (0, 1)]
        rates = [[p[side]["output_tokens"] / p[side]["wall_s"] for p in pairs] for side in (0, 1)]
        n_prompt = pairs[0][0]["prompt_tokens"] / settings["n_lines"]
        same = [a == b for a, b in zip(pairs[0][0]["texts"], pairs[0][1]["texts"], strict=True)]
        row = [f"{n_prompt:.0f}", *(spread(each, 1) for each in walls)]
        row += [*(f"{median(each):.2f}" for each in rates)]
        row += [f"{median_ratio(*rates, is_rate=True):.1f}x", f"{sum(same)} of {len(same)}"]
        rows.append(row)
    heads = ["prompt tokens of a line", "map, s", "loop, s", "map, tok/s", "loop, tok/s"]
    lines = [
        f"{result['model']['name']}; {settings['n_lines']} lines, at most {settings['n_decode']}"
        f" tokens for each, {settings['n_threads']} threads; whole processes, start and load"
        " included; tok/s are tokens of answers over wall time",
        "",
        *table([*heads, "map better by", "equal answers"], rows),
    ]
    return "\n".join(lines) + "\n"


def render_agreement(result: Mapping[str, Any]) -> str:
    """Table of an ``agreement`` result: one row per figure that was looked at from outside."""
    rows = []
    for name, check in result["checks"].items():
        ours, theirs = zip(*check["pairs"], strict=True)
        off = median(a / b for a, b in check["pairs"]) - 1
        outcome = "pass" if abs(off) <= check["limit"] else "FAIL"
        cells = [f"{median(x):,.4g}" for x in (ours, theirs)]
        rows.append([name, *cells, f"{off:+.1%}", f"{check['limit']:.0%}", outcome])
    models = ", ".join(f"{use}: {each['name']}" for use, each in result["models"].items())
    heads = ["", "g3n bench", "outside", "median of the pairs' difference", "limit", "outcome"]
    lines = [f"{models}; {result['settings']['rounds']} rounds", "", *table(heads, rows)]
    return "\n".join(lines) + "\n"


def _order_of_side(name: str) -> tuple[bool, str]:
    return not name.startswith("ggml"), name


RENDERERS = {
    "agreement": render_agreement,
    "audio": render_audio,
    "compare": render_compare,
    "kernels": render_kernels,
    "load": render_load,
    "map": render_map,
    "matrix": render_matrix,
    "peers": render_peers,
    "sizes": render_sizes,
    "vision": render_vision,
}


EXPECTED = {
    "matrix": "models x prompts x depths beside llama.cpp (`matrix.py`)",
    "peers": "transformers in torch, litert-lm and ollama (`peers.py`)",
    "map": "`g3n map` beside a loop of `g3n chat` (`map.py`)",
    "agreement": "figures of `g3n bench` beside looks from outside (`agreement.py`)",
}
"""Kinds of results that the page says are missing."""


def render_results(folder: Path) -> str:
    """A section per result file of ``folder``, in order of their names; charts go beside them."""
    sections = []
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        table = RENDERERS[result["kind"]](result)
        sections.append(f"## {path.stem}\n\n{_describe(result['machine'])}\n\n{table}")
        if result["kind"] == "matrix" and (charts := chart_matrix(result)):
            path.with_suffix(".svg").write_text(draw_svg(charts))
            sections.append(f"![First tokens]({folder.name}/{path.stem}.svg)\n")
    kinds = {json.loads(path.read_text())["kind"] for path in folder.glob("*.json")}
    missing = [f"- {what}: not run" for kind, what in EXPECTED.items() if kind not in kinds]
    return "\n".join([*sections, *(["## Not run\n", "\n".join(missing) + "\n"] if missing else [])])


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


def main() -> None:
    """Rewrite the generated part of BENCHMARKS.md."""
    page = HERE / "BENCHMARKS.md"
    written_by_hand, _, _ = page.read_text().partition(MARKER)
    page.write_text(written_by_hand + MARKER + "\n" + render_results(HERE / "results"))


if __name__ == "__main__":
    main()
