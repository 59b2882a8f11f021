"""Options of ``g3n bench``; those that take lists name the flags of ``g3n chat``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from g3n_cli.bench.choices import Content, Format, Preset

ModelsOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        show_default="$G3N_MODEL, else the bundled model",
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
ThreadsOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--threads",
        "-t",
        metavar="N,...",
        envvar="G3N_THREADS",
        show_default="physical cores",
        help="CPU threads that compute; ranges are 1-8, 0-4096+1024, 1-8*2, here and above.",
    ),
]
BatchOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--batch",
        metavar="N,...",
        envvar="G3N_BATCH",
        show_default="256",
        help="Most prompt tokens computed in one step.",
    ),
]
SizesOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="SIZE,...",
        envvar="G3N_SIZE",
        show_default="full",
        help="Which of the models nested in a Gemma 3n.",
    ),
]
KvOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--kv",
        metavar="TYPE,...",
        envvar="G3N_KV",
        show_default="f16",
        help="Types of the K/V cache: f32, f16, q8_0, q4_0.",
    ),
]
PleOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--ple",
        metavar="PLACE,...",
        envvar="G3N_PLE",
        show_default="disk",
        help="Where per-layer embeddings live: disk, ram.",
    ),
]
PrefillOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--prefill",
        metavar="MODE,...",
        envvar="G3N_PREFILL",
        show_default="skip",
        help="skip or full: whether layers that share K/V are left out for prompt tokens.",
    ),
]
KernelsOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--kernels",
        metavar="NAME,...",
        envvar="G3N_KERNELS",
        show_default="own",
        help="Whose matrix products: own, ggml, or a variant.",
    ),
]
DeviceOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--device",
        "--devices",
        metavar="NAME,...",
        help="Where to compute: cpu, devices that g3n devices lists, rpc:HOST:PORT, or all for the "
        "CPU and every GPU of this machine.",
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
        "--file", "-f", metavar="FILE", show_default="a page of prose", help="Text of the prompts."
    ),
]
TokensOption: TypeAlias = Annotated[
    Content,
    typer.Option(help="What prompts are made of: sentences of the text, or random tokens."),
]
ColdOption: TypeAlias = Annotated[
    bool,
    typer.Option("--cold", help="Drop the model's file from the page cache before each run."),
]
SyntheticOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SHAPE[:TYPE]",
        help="Measure a model with random weights, made in the cache folder: e2b, e4b or "
        "gemma3-4b; q4_0 (if none is named), q4_k_m, q8_0 or f16.",
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
        help="Where to write it, anew after each run; a table is printed all the same.",
    ),
]
