"""Figures of an answer, for people and for scripts."""

from __future__ import annotations

import json

from g3n_cli.chat.session import Reply, Session
from g3n_cli.engine.generate import GenerationStats
from g3n_cli.ui.memory import read_peak_rss_bytes, read_rss_bytes
from g3n_cli.ui.text import escape_json, format_bytes

METER_WIDTH = 24


def format_stats(stats: GenerationStats, kernels: str) -> str:
    """One line about an answer that was computed with ``kernels``."""
    reused = f" ({stats.reused_tokens:,} reused)" if stats.reused_tokens else ""
    parts = [f"prompt {stats.prompt_tokens:,}{reused}", f"answer {stats.output_tokens:,}"]
    if stats.prefill_tps is not None:
        parts[0] += f" at {stats.prefill_tps:.1f}/s"
    if stats.decode_tps is not None:
        parts[1] += f" at {stats.decode_tps:.1f}/s"
    if stats.ttft_s is not None:
        parts.append(f"first token {stats.ttft_s:.2f} s")
    parts += [f"RSS {format_bytes(read_rss_bytes())}", f"{kernels} kernels", stats.stop_reason]
    return " · ".join(parts)


def format_json(session: Session, reply: Reply, load_s: float) -> str:
    """One answer as a JSON object on one line; rates without meaning are null."""
    stats = reply.stats
    answer = {
        "text": reply.text,
        "model": session.engine.info.name,
        "prompt_tokens": stats.prompt_tokens,
        "output_tokens": stats.output_tokens,
        "load_s": load_s,
        "ttft_s": stats.ttft_s,
        "prefill_tps": stats.prefill_tps,
        "decode_tps": stats.decode_tps,
        "peak_rss_bytes": read_peak_rss_bytes(),
        "stop_reason": stats.stop_reason,
        "seed": session.options.seed,
        "size": session.engine.info.size,
    }
    return escape_json(json.dumps(answer, ensure_ascii=False))


def format_context(session: Session) -> str:
    """How full the context is, and what fills it."""
    used, total = session.count_used(), session.engine.n_ctx
    answers = sum(len(turn.ids) for turn in session.turns)
    n_filled = min(METER_WIDTH, round(METER_WIDTH * used / total))
    meter = "█" * n_filled + "░" * (METER_WIDTH - n_filled)
    n_turns = len(session.turns)
    return (
        f"  {meter} {used:,} of {total:,} tokens ({used / total:.0%})\n"
        f"  {n_turns} turn{'s' if n_turns != 1 else ''}: {used - answers:,} tokens of messages"
        f" and markup, {answers:,} of answers"
    )
