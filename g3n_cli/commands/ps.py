"""``g3n ps``: what of g3n runs on this machine."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from g3n_cli.ui.text import align, escape_json, make_visible
from g3n_cli.units import format_bytes

if TYPE_CHECKING:
    from g3n_cli.chat.presence import Running


def ps(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write JSON, memory in bytes, times in seconds.")
    ] = False,
) -> None:
    """List what holds a model on this machine: chats, benchmarks, servers."""
    from g3n_cli.chat.presence import find_folder, find_running

    found = find_running(find_folder())
    if as_json:
        lines = [{**asdict(running), "rss_bytes": rss} for running, rss in found]
        sys.stdout.write(escape_json(json.dumps(lines, indent=2)) + "\n")
        return
    rows = [("PID", "COMMAND", "MODEL", "MEMORY", "SINCE", "DONE", "NOW", "CACHE", "ADDRESS")]
    rows += [
        (
            str(running.pid),
            make_visible(running.command),
            make_visible(name_model(running.model, running.size)),
            format_bytes(rss),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(running.started)),
            str(running.n_done),
            str(running.n_now),
            describe_cache(running),
            make_visible(running.address),
        )
        for running, rss in found
    ]
    sys.stdout.write(align(rows) + "\n")


def describe_cache(running: Running) -> str:
    """What a server keeps of conversations, ``2: 66 MB of 512 MB``; of others "-"."""
    if not running.cache_limit_bytes:
        return "-"
    held, limit = map(format_bytes, (running.cache_bytes, running.cache_limit_bytes))
    return f"{running.n_cached}: {held} of {limit}"


def name_model(model: str, size: str) -> str:
    """A model, and its size where it is not the whole."""
    return model if size == "full" else f"{model} {size}"
