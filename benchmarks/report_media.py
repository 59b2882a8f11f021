"""Tables of encoders of pictures and sound, for ``report.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.tables import spread, table


def render_audio(result: Mapping[str, Any]) -> str:
    """Table of an ``audio`` result: one row per length and side."""
    rows = []
    for (seconds, side), times, peak, _ in _group_media(result["cases"], "seconds"):
        figures = [f"{seconds / median(times):.1f}", f"{peak / 1e9:.2f}"]
        rows.append([f"{seconds} s", side, spread(times, 2), *figures])
    settings = result["settings"]
    lines = [
        f"{settings['n_threads']} threads, {settings['repetitions']} repetitions in each process",
        "",
        *table(["sound", "side", "encode, s", "RTFx", "peak RSS, 1e9 bytes"], rows),
    ]
    return "\n".join(lines) + "\n"


def render_vision(result: Mapping[str, Any]) -> str:
    """Table of a ``vision`` result: one row per size of the picture and side."""
    cosines = {(found["size"], found["side"]): found for found in result["cosines"]}
    rows = []
    for (size, side), times, peak, opens in _group_media(result["cases"], "size"):
        found = cosines.get((size, side))
        least = f"{found['min']:.6f}, {found['min_centred']:.6f}" if found else ""
        figures = [spread(opens, 2), spread(times, 2), f"{peak / 1e9:.2f}", least]
        rows.append([f"{size} x {size}", side, *figures])
    settings, heads = result["settings"], ["picture", "side", "open, s", "encode, s"]
    compiled = next((c["compiled_for"] for c in result["cases"] if "compiled_for" in c), None)
    sides = f"; kernels of g3n: {settings['kernels']}" if "kernels" in settings else ""
    sides += f"; llama.cpp compiled for {' '.join(compiled)}" if compiled else ""
    reference = next((found["with"] for found in result["cosines"]), "no other side")
    lines = [
        f"{result['model']['name']}; {settings['n_threads']} threads, {settings['repetitions']}"
        f" repetitions in each process; cosines with rows of {reference}{sides}",
        "",
        *table([*heads, "peak RSS, 1e9 bytes", "least cosine; without the mean row"], rows),
    ]
    return "\n".join(lines) + "\n"


def _group_media(
    cases: Sequence[Mapping[str, Any]], of: str
) -> list[tuple[tuple[int, str], list[float], int, list[float]]]:
    """(length or size, side), seconds of encoding, peak RSS, and seconds of opening."""
    runs: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for case in cases:
        runs.setdefault((case[of], case["side"]), []).append(case)
    return [
        (
            key,
            [time for case in found for time in case["encode_s"]],
            max(case["peak_rss_bytes"] for case in found),
            [case["open_s"] for case in found],
        )
        for key, found in runs.items()
    ]
