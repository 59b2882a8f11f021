"""Options of ``g3n bench``; those that take lists name the flags of ``g3n chat``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_args

import typer

from g3n_cli.bench.choices import Content, Format, Preset
from g3n_cli.commands.complete import (
    complete_devices,
    complete_model,
    complete_sizes,
    complete_words,
)
from g3n_cli.config import KernelsName, KvType, PleMode, PrefillMode

ModelsOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        show_default="$G3N_MODEL, else the bundled model",
        autocompletion=complete_model,
        help="A model's name, or the path of a GGUF file; may be given several times.",
    ),
]
PresetOption: TypeAlias = Annotated[
    Preset | None,
    typer.Option(
        help="What to run where no flag says so: quick is -p 128 -n 32 -r 3, full is "
        "-p 128,512,2048 -n 128 -d 0,4096 -r 5, google is -p 1024 -n 256 -r 5, as Google "
        "publishes figures.",
    ),
]
PromptOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--n-prompt",
        "-p",
        metavar="N,...",
        show_default="512",
        help="Tokens of the prompt whose first token is waited for; 0 for none.",
    ),
]
GenOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--n-gen",
        "-n",
        metavar="N,...",
        show_default="64",
        help="Tokens decoded after the first; 0 for none.",
    ),
]
DepthOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--n-depth",
        "-d",
        metavar="N,...",
        show_default="0",
        help="Tokens that are in the context before.",
    ),
]
CtxOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--ctx",
        metavar="N",
        min=0,
        show_default="what each case needs",
        help="Least positions of the context; models other than Gemma 3n take memory for all of "
        "them.",
    ),
]
RepetitionsOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--repetitions",
        "-r",
        metavar="N",
        min=1,
        show_default="5; 10 with --ab",
        help="How often each case is measured, each time in a process of its own.",
    ),
]


def _swept(
    name: str, metavar: str, usual: str, help: str, *short: str, words: Sequence[str] = ()
) -> Any:  # noqa: ANN401  Typer's own
    """An option whose values are separated by commas; its environment variable is chat's."""
    return typer.Option(
        f"--{name}",
        *short,
        metavar=f"{metavar},...",
        envvar=f"G3N_{name.upper().replace('-', '_')}",
        show_default=usual,
        autocompletion=complete_words(words) if words else None,
        help=help,
    )


_THREADS = "CPU threads that compute; ranges are 1-8, 0-4096+1024, 1-8*2, here and above."
ThreadsOption: TypeAlias = Annotated[
    str | None, _swept("threads", "N", "physical cores", _THREADS, "-t")
]
BatchOption: TypeAlias = Annotated[
    str | None, _swept("batch", "N", "256", "Most prompt tokens computed in one step.")
]
SizesOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="SIZE,...",
        envvar="G3N_SIZE",
        show_default="full",
        autocompletion=complete_sizes,
        help="Which of the models nested in a Gemma 3n.",
    ),
]
KvOption: TypeAlias = Annotated[
    str | None,
    _swept(
        *("kv", "TYPE", "f16", "Types of the K/V cache: f32, f16, q8_0, q4_0."),
        words=get_args(KvType),
    ),
]
PleOption: TypeAlias = Annotated[
    str | None,
    _swept(
        *("ple", "PLACE", "disk", "Where per-layer embeddings live: disk, ram."),
        words=get_args(PleMode),
    ),
]
_PREFILL = "skip or full: whether layers that share K/V are left out for prompt tokens."
PrefillOption: TypeAlias = Annotated[
    str | None, _swept("prefill", "MODE", "skip", _PREFILL, words=get_args(PrefillMode))
]
_KERNELS = "Whose matrix products: own, ggml, or a variant."
KernelsOption: TypeAlias = Annotated[
    str | None, _swept("kernels", "NAME", "own", _KERNELS, words=get_args(KernelsName))
]
DeviceOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--device",
        "--devices",
        metavar="NAME,...",
        autocompletion=complete_devices,
        help="Where to compute: cpu, devices that g3n devices lists, rpc:HOST:PORT, all for the "
        "CPU and every GPU of this machine, or addresses of OpenAI-compatible servers, such as "
        "http://127.0.0.1:8080/v1, which are sent the text. Without any other device -m names "
        "the servers' models, else each runs its first; G3N_API_KEY holds their key.",
    ),
]
GpuLayersOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--gpu-layers",
        metavar="N,...",
        show_default="all",
        help="How many layers lie on the device; the CPU computes the others.",
    ),
]
AbOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--ab",
        metavar="NAME=A,B",
        help="Measure two values of a setting, or model=A,B, in turn, and say which is faster.",
    ),
]
FileOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        show_default="chapters of a novel",
        help="Text of the prompts.",
    ),
]
TokensOption: TypeAlias = Annotated[
    Content,
    typer.Option(help="What prompts are made of: sentences of the text, or random tokens."),
]
MediaOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,...",
        show_default="none",
        autocompletion=complete_words(("none", "audio", "image")),
        help="What prompts begin with: none, audio (30 s of sound made here), image (a picture "
        "made here), or files with pictures or sound.",
    ),
]
MmprojOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        envvar="G3N_MMPROJ",
        show_default="the one beside the model",
        help="The model's encoders, for --media.",
    ),
]
ImageSizesOption: TypeAlias = Annotated[
    str | None,
    _swept("image-size", "N", "768", "Pixels of a side that pictures are brought to."),
]
ColdOption: TypeAlias = Annotated[
    bool,
    typer.Option("--cold", help="Drop the model's files from the page cache before each run."),
]
SyntheticOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SHAPE[:TYPE]",
        autocompletion=complete_words(("e2b", "e4b", "gemma3-4b")),
        help="Measure a model with random weights, made in the cache folder: e2b, e4b or "
        "gemma3-4b; q4_0 (if none is named), q4_k_m, q8_0 or f16. With --media its encoders too, "
        "F16; a chat with that model reads pictures and sound.",
    ),
]
YesOption: TypeAlias = Annotated[
    bool, typer.Option("--yes", "-y", help="Make that model without asking for the disk space.")
]
FormatOption: TypeAlias = Annotated[
    Format | None,
    typer.Option(
        "--format",
        "-o",
        show_default="table, or by the end of --output's name",
        help="How to write the result.",
    ),
]
PlotOption: TypeAlias = Annotated[
    bool, typer.Option("--plot", help="Draw charts in the terminal below the table.")
]
OutputOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="FILE",
        help="Where to write it, anew after each run; a pipe gets it in the end. A table is "
        "printed all the same.",
    ),
]
