"""``g3n show``: what a model file holds and what running it takes."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from g3n_cli.commands.complete import complete_model
from g3n_cli.config import count_physical_cores
from g3n_cli.ui.text import align, escape_json, make_visible

if TYPE_CHECKING:
    from g3n_cli.engine.api import SizeInfo
    from g3n_cli.engine.gguf import GgufFile
    from g3n_cli.engine.summary import Gemma3nUse, Summary
    from g3n_cli.registry.models import ModelSpec

Row = tuple[str, str]

_LABELS = {
    "description": "Model",
    "path": "Path",
    "place": "Place",
    "repo": "Repository",
    "sha256": "sha256",
    "licence": "Licence",
    "licence_url": "Terms",
    "projector": "Projector",
}


def show(
    model: Annotated[
        str,
        typer.Argument(
            help="Name of a model, reference as g3n list shows it, or path of a GGUF file.",
            autocompletion=complete_model,
        ),
    ],
    as_json: Annotated[  # noqa: FBT002 - typer passes it by name
        bool, typer.Option("--json", help="Write JSON, sizes in bytes.")
    ] = False,
) -> None:
    """Show what a model file holds and how much memory it takes."""
    from g3n_cli.engine.gguf import GgufFile
    from g3n_cli.engine.summary import summarize
    from g3n_cli.registry.models import resolve

    spec = resolve(model)
    gguf = GgufFile.open(spec.path)
    summary, sizes = summarize(gguf), _find_sizes(gguf)
    speeds = _estimate_speeds(sizes)
    if as_json:
        pairs = zip(sizes, speeds, strict=True)
        listed = {
            "sizes": [
                {**dataclasses.asdict(size), "estimated_decode_tps": speed} for size, speed in pairs
            ]
        }
        found = {"source": _describe_source(spec)} | dataclasses.asdict(summary) | listed
        text = escape_json(json.dumps(found, indent=2))
    else:
        source = [(_LABELS[key], _show_line(str(value))) for key, value in _known(spec)]
        sections = (source, *_sections(summary), list(_describe_sizes(sizes, speeds)))
        text = "\n\n".join(align(rows) for rows in sections if rows)
    sys.stdout.write(text + "\n")


def _describe_source(spec: ModelSpec) -> dict[str, object]:
    """Where the file is, where it is from and under what licence; None where that is not known."""
    from g3n_cli.registry.table import HubFile

    entry, held = spec.entry, spec.held
    hub = entry.source if entry and isinstance(entry.source, HubFile) else None
    return {
        "description": spec.description or None,
        "path": str(spec.path),
        "place": held.place if held else None,
        "repo": hub.repo if hub else held.repo if held else None,
        "sha256": held.sha256 if held else None,
        "licence": entry.licence or None if entry else None,
        "licence_url": entry.licence_url or None if entry else None,
        "projector": str(spec.projector) if spec.projector else None,
    }


def _known(spec: ModelSpec) -> Iterator[tuple[str, object]]:
    return ((key, value) for key, value in _describe_source(spec).items() if value is not None)


def _find_sizes(gguf: GgufFile) -> tuple[SizeInfo, ...]:
    """The nested models of a Gemma 3n; none in other files."""
    from g3n_cli.engine.hparams import ARCHITECTURE, HParams
    from g3n_cli.engine.matformer import SizeResolver, find_width_multiple
    from g3n_cli.registry.models import read_sizes

    if gguf.architecture != ARCHITECTURE:
        return ()
    multiple = find_width_multiple(gguf, repack=False)
    return SizeResolver(gguf, HParams.from_gguf(gguf), read_sizes(), multiple).describe()


def _estimate_speeds(sizes: tuple[SizeInfo, ...]) -> list[float]:
    """Tokens per second that each size would decode here."""
    if not sizes:
        return []
    from g3n_cli.bench.estimate import measure_machine
    from g3n_cli.registry.models import resolve

    machine = measure_machine(count_physical_cores(), resolve(None).path)
    return [machine.estimate_decode_tps(size.read_bytes, size.n_layer) for size in sizes]


def _describe_sizes(sizes: tuple[SizeInfo, ...], speeds: list[float]) -> Iterator[Row]:
    from g3n_cli.engine.matformer import format_params

    for size, speed in zip(sizes, speeds, strict=True):
        counts = f"{format_params(size.n_params):>6} parameters  {format_size(size.n_bytes):>9}"
        rate = f"{speed:,.0f}" if speed >= 100 else f"{speed:.3g}"
        yield f"Size {size.name}", f"{counts} of weights  about {rate} tokens/s here"


def _sections(summary: Summary) -> Iterator[list[Row]]:
    yield [row for row in _describe(summary) if row[1]]
    yield [
        (use.type, f"{use.n_tensors:>5} tensors  {format_size(use.n_bytes):>9}")
        for use in summary.types
    ]
    parts = (
        ("Per-layer embeddings", summary.ple_bytes),
        ("All layers", summary.layer_bytes),
        ("Embedding and head", summary.embedding_bytes),
        ("Other", summary.other_bytes),
    )
    yield [(label, f"{format_size(size):>9}") for label, size in parts if size]
    if summary.gemma3n is not None:
        yield list(_describe_memory(summary.gemma3n))


def _describe(summary: Summary) -> Iterator[Row]:
    yield "Name", _show_line(summary.name)
    yield "Architecture", _show_line(summary.architecture)
    yield "File", format_size(summary.file_bytes)
    yield "Layers", _format_count(summary.n_layer)
    yield "Width", _format_count(summary.n_embd)
    yield "Heads", _format_counts(summary.n_head)
    yield "K/V heads", _format_counts(summary.n_head_kv)
    yield "FFN width", _format_counts(summary.n_ff)
    yield "Vocabulary", _format_count(summary.n_vocab)
    yield "Context", _format_count(summary.n_ctx_train)
    yield "Window", _format_count(summary.n_swa)
    yield "Shared layers", _format_count(summary.n_shared_kv)


def _describe_memory(use: Gemma3nUse) -> Iterator[Row]:
    yield "Weights in RAM", f"{format_size(use.ram_bytes):>9}"
    unused = f"  ({format_size(use.unused_bytes)} never read)" if use.unused_bytes else ""
    yield "Left on disk", f"{format_size(use.disk_bytes):>9}{unused}"
    for kv in use.kv:
        yield f"K/V at {kv.n_ctx}", f"{format_size(kv.n_bytes):>9}"


def format_size(n_bytes: int) -> str:
    """Bytes in decimal units: ``512 B``, ``1.50 MB``."""
    if n_bytes < 1000:
        return f"{n_bytes} B"
    size = n_bytes / 1000
    units = iter(("kB", "MB", "GB", "TB"))
    unit = next(units)
    while size >= 999.5 and unit != "TB":
        size, unit = size / 1000, next(units)
    digits = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{size:.{digits}f} {unit}"


def _show_line(text: str) -> str:
    return make_visible(" ".join(text.split()))


def _format_count(count: int | None) -> str:
    return "" if count is None else str(count)


def _format_counts(counts: tuple[int, ...]) -> str:
    """Numbers by layer as their distinct values, each with how many layers have it."""
    distinct = dict.fromkeys(counts)
    if len(distinct) <= 1:
        return "".join(map(str, distinct))
    return ", ".join(f"{count} (x{counts.count(count)})" for count in distinct)
