"""Figures of an answer, for people and for scripts."""

from __future__ import annotations

import json
from statistics import median

from g3n_cli.chat.conversation import Conversation, Reply
from g3n_cli.engine.stats import GenerationStats
from g3n_cli.ui.memory import read_peak_rss_bytes, read_rss_bytes
from g3n_cli.ui.text import escape_json
from g3n_cli.units import format_bytes

METER_WIDTH = 24


def format_stats(conversation: Conversation, stats: GenerationStats) -> str:
    """One line about an answer of this conversation; what nobody knows is left out."""
    parts = []
    if stats.prompt_tokens is not None:
        from_disk = f", {stats.disk_tokens:,} from disk" if stats.disk_tokens else ""
        reused = f" ({stats.reused_tokens:,} reused{from_disk})" if stats.reused_tokens else ""
        parts.append(f"prompt {stats.prompt_tokens:,}{reused}{_format_rate(stats.prefill_tps)}")
    if stats.output_tokens is not None:
        guessed = f" ({stats.draft_accepted:,} guessed)" if stats.draft_accepted else ""
        parts.append(f"answer {stats.output_tokens:,}{guessed}{_format_rate(stats.decode_tps)}")
    if stats.ttft_s is not None:
        parts.append(f"first token {stats.ttft_s:.2f} s")
    stages = [("files read", stats.read_s), ("encoded", stats.encode_s)]
    if any(seconds is not None for _, seconds in stages):
        stages.append(("prefill", stats.prefill_s))
    parts += [f"{name} {seconds:.2f} s" for name, seconds in stages if seconds is not None]
    if stats.gaps_s:
        middle, longest = median(stats.gaps_s), max(stats.gaps_s)
        parts.append(f"gaps {middle * 1000:.0f} ms, at most {longest * 1000:.0f}")
    if (engine := conversation.engine) is not None:
        parts += [f"RSS {format_bytes(read_rss_bytes())}", f"{engine.info.kernels} kernels"]
    return " · ".join([*parts, stats.stop_reason])


def _format_rate(tps: float | None) -> str:
    return "" if tps is None else f" at {tps:.1f}/s"


def format_json(
    conversation: Conversation, reply: Reply, load_s: float | None, extracted: str | None = None
) -> str:
    """One answer as a JSON object on one line, with the block that was wanted of it, or None."""
    answer = describe_answer(conversation, reply, load_s)
    if extracted is not None:
        answer["extracted"] = extracted
    return escape_json(json.dumps(answer, ensure_ascii=False))


def describe_answer(
    conversation: Conversation, reply: Reply, load_s: float | None
) -> dict[str, object]:
    """One answer with its figures; what has no meaning or is not known is None."""
    stats, engine = reply.stats, conversation.engine
    return {
        "text": reply.text,
        "model": conversation.name,
        "prompt_tokens": stats.prompt_tokens,
        "reused_tokens": stats.reused_tokens,
        "disk_tokens": stats.disk_tokens,
        "output_tokens": stats.output_tokens,
        "draft_tokens": stats.draft_tokens,
        "draft_accepted": stats.draft_accepted,
        "load_s": load_s,
        "read_s": stats.read_s,
        "encode_s": stats.encode_s,
        "prefill_s": stats.prefill_s,
        "ttft_s": stats.ttft_s,
        "prefill_tps": stats.prefill_tps,
        "decode_tps": stats.decode_tps,
        "peak_rss_bytes": None if engine is None else read_peak_rss_bytes(),
        "stop_reason": stats.stop_reason,
        "seed": conversation.seed,
        "size": None if engine is None else engine.info.size,
    }


def format_context(conversation: Conversation) -> str:
    """How full the context is, and what fills it."""
    used, engine = conversation.count_used(), conversation.engine
    n_turns = len(conversation.turns)
    turns = f"{n_turns} turn{'s' if n_turns != 1 else ''}"
    if engine is None or used is None:
        count = "the server does not count tokens" if used is None else f"{used:,} tokens"
        return f"  {turns}: {count}; how many the server holds is not known here"
    total = engine.n_ctx
    answers = sum(len(turn.ids) for turn in conversation.turns)
    n_filled = min(METER_WIDTH, round(METER_WIDTH * used / total))
    meter = "█" * n_filled + "░" * (METER_WIDTH - n_filled)
    return (
        f"  {meter} {used:,} of {total:,} tokens ({used / total:.0%})\n"
        f"  {turns}: {used - answers:,} tokens of messages"
        f" and markup, {answers:,} of answers"
    )
