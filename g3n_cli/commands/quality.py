"""``g3n quality``: what smaller sizes, coarser types and other files cost."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from g3n_cli.commands.files import read_text
from g3n_cli.commands.options import (
    ActOption,
    KernelsOption,
    KvOption,
    PrefillSizeOption,
    SizeOption,
    ThreadsOption,
)
from g3n_cli.config import EngineSettings, count_physical_cores
from g3n_cli.errors import UsageError

if TYPE_CHECKING:
    from g3n_cli.bench.quality import LogLikelihoods, Quality

_VARIABLE = ("size", "prefill_size", "kv", "act", "kernels", "repack", "prefill", "ple", "model")

HELP = """Compare what a model predicts with different settings.

The flags are the reference. Each --vary changes some of them, or the file: the text is read
again, and its predictions are compared with the reference's.

\b
  g3n quality MODEL --vary size=e2b --vary "kv=q8_0 prefill-size=e2b"
  g3n quality MODEL --vary act=f32 --vary model=other.gguf
"""


def quality(  # noqa: PLR0913  one parameter for each flag
    *,
    model: Annotated[str, typer.Argument(help="A model's name, or the path of a GGUF file.")],
    vary: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=VALUE",
            help=f"Settings to compare with: {', '.join(_VARIABLE)}. May be given several times.",
        ),
    ],
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", metavar="FILE", show_default="a page of prose", help="The text."
        ),
    ] = None,
    context: Annotated[
        int, typer.Option(metavar="N", min=1, help="Tokens that are read as a prompt.")
    ] = 128,
    measured: Annotated[
        int, typer.Option(metavar="N", min=1, help="Tokens after them that are predicted.")
    ] = 128,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    threads: ThreadsOption = None,
    kv: KvOption = EngineSettings.kv,
    kernels: KernelsOption = EngineSettings.kernels,
    size: SizeOption = EngineSettings.size,
    prefill_size: PrefillSizeOption = EngineSettings.prefill_size,
    act: ActOption = EngineSettings.act,
) -> None:
    """Compare what a model predicts with different settings."""
    from g3n_cli.bench.quality import load_sample, measure
    from g3n_cli.engine.open import open_engine
    from g3n_cli.registry.models import read_sizes, resolve
    from g3n_cli.ui.progress import ProgressBar
    from g3n_cli.ui.terminal import Terminal

    reference = EngineSettings(
        n_ctx=context + measured,
        n_threads=count_physical_cores() if threads is None else threads,
        kv=kv,
        kernels=kernels,
        size=size,
        prefill_size=prefill_size,
        act=act,
        named_sizes=read_sizes(),
    )
    cases = {"reference": (model, reference)}
    cases |= {text: parse_vary(text, model, reference) for text in vary}
    specs = {name: resolve(of) for name, (of, _) in cases.items()}
    text = load_sample() if file is None else read_text(file)
    terminal = Terminal.of_process()
    expected: list[LogLikelihoods] = []
    found: dict[str, Quality] = {}
    for name, (_, settings) in cases.items():
        spec, bar = specs[name], ProgressBar(terminal, name)
        engine = open_engine(spec.path, spec.name, settings)
        try:
            found[name] = measure(engine, text, context, measured, expected, bar)
        finally:
            bar.clear()
            engine.close()
    if as_json:
        rows = {name: dataclasses.asdict(each) for name, each in found.items()}
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        sys.stdout.write(format_table(found))


def parse_vary(text: str, model: str, reference: EngineSettings) -> tuple[str, EngineSettings]:
    """The reference's model and settings with those of ``NAME=VALUE NAME=VALUE`` changed.

    Raises:
        UsageError: there is no such setting or value.
    """
    changes: dict[str, str | bool] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        name = name.replace("-", "_")
        if not equals or name not in _VARIABLE:
            raise UsageError(f"--vary {word!r} is no setting", f"there is {', '.join(_VARIABLE)}")
        changes[name] = value == "true" if name == "repack" else value
    if not changes:
        raise UsageError("--vary is empty", "for example --vary size=e2b")
    model = str(changes.pop("model", model))
    return model, dataclasses.replace(reference, **changes)  # type: ignore[arg-type]


def format_table(found: dict[str, Quality]) -> str:
    """A line for each setting."""
    width = max(len(name) for name in found)
    lines = [f"{'':{width}}  {'perplexity':>12}  {'KL divergence':>14}  {'same top token':>14}"]
    lines += [
        f"{name:{width}}  {each.perplexity:>12.4g}  {each.kl_divergence:>14.4g}"
        f"  {each.top1_agreement:>14.1%}"
        for name, each in found.items()
    ]
    return "\n".join(lines) + "\n"
