"""Results of many inputs as lines, and how far the work is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Literal

from g3n_cli.chat.mapping import Answered, Failed, Mapper, Result
from g3n_cli.media.parts import format_time
from g3n_cli.ui.constrained import join_document
from g3n_cli.ui.progress import TransientLine
from g3n_cli.ui.terminal import Terminal
from g3n_cli.ui.text import escape_json, make_visible

ResultFormat = Literal["jsonl", "text", "tsv"]

_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def format_result(result: Result, key: str, output: ResultFormat) -> str:
    """One line, ended by a newline.

    Args:
        result: An answer or an error.
        key: Of its input and of all that answers depend on.
        output: ``jsonl`` tells all; ``text`` is the answer with its lines joined (where it has to
            be a JSON document, without a change to its strings), nothing for an error; ``tsv`` is
            index, stop reason and answer, or index, ``error`` and what is wrong.
    """
    text = result.text if isinstance(result, Answered) else ""
    is_document = isinstance(result, Answered) and "value" in result.figures
    if output == "text":
        line = join_document(text) if is_document else " ".join(text.split())
        return make_visible(line) + "\n"
    if output == "tsv":
        told = (result.stats.stop_reason, text) if isinstance(result, Answered) else _tell(result)
        cells = (str(result.asked.index), *told)
        return "\t".join(make_visible(cell.translate(_ESCAPED)) for cell in cells) + "\n"
    record: dict[str, object] = {"index": result.asked.index, **result.asked.shown}
    if isinstance(result, Answered):
        record |= {
            "text": text,
            "stop_reason": result.stats.stop_reason,
            "prompt_tokens": result.stats.prompt_tokens,
            "output_tokens": result.stats.output_tokens,
            "seed": result.seed,
            **result.figures,
        }
    else:
        record["error"] = result.error
        if result.hint:
            record["hint"] = result.hint
    return escape_json(json.dumps({**record, "key": key}, ensure_ascii=False)) + "\n"


def _tell(failed: Failed) -> tuple[str, str]:
    return "error", failed.error


class MapProgress:
    """Tells on stderr how many inputs are done; nothing where a line cannot be taken back.

    Args:
        terminal: Where it is drawn.
        n_inputs: How many there are.
        n_before: How many were done by an earlier run.
        clock: Seconds, from anywhere.
    """

    def __init__(
        self,
        terminal: Terminal,
        n_inputs: int,
        n_before: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._line = TransientLine(terminal)
        self._n_inputs, self._n_before = n_inputs, n_before
        self._clock, self._started = clock, clock()

    def show(self, n_done: int) -> None:
        """So many are done, those of an earlier run included; work on the next begins."""
        line = f"{n_done:,} of {self._n_inputs:,}"
        elapsed, n_new = self._clock() - self._started, n_done - self._n_before
        if n_new and elapsed > 0:
            rate = n_new / elapsed
            shown = f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
            line += f" · {shown} · {format_time((self._n_inputs - n_done) / rate)} left"
        self._line.show(line)

    def clear(self) -> None:
        """Take the line back."""
        self._line.clear()


def format_summary(n_done: int, n_inputs: int, n_errors: int, mapper: Mapper | None) -> str:
    """One line about a run: inputs, errors, tokens of prompts."""
    n_shown = f"{n_inputs:,}" if n_done == n_inputs else f"{n_done:,} of {n_inputs:,}"
    parts = [f"{n_shown} input{'' if n_inputs == 1 else 's'}"]
    if n_errors:
        parts.append(f"{n_errors:,} error{'' if n_errors == 1 else 's'}")
    if mapper is not None and mapper.n_prompt:
        parts.append(f"{mapper.n_reused:,} of {mapper.n_prompt:,} prompt tokens reused")
    return " · ".join(parts)
