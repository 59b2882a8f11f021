"""Options that several commands share, each with an environment variable of the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from g3n_cli.commands.complete import complete_device, complete_model, complete_size
from g3n_cli.config import ActType, KernelsName, KvType, PleMode, PrefillMode

CtxOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--ctx",
        metavar="N",
        envvar="G3N_CTX",
        help="Tokens the conversation may hold, prompt and answers together.",
    ),
]
ThreadsOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        envvar="G3N_THREADS",
        show_default="physical cores",
        help="CPU threads that compute.",
    ),
]
BatchOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--batch", metavar="N", envvar="G3N_BATCH", help="Most prompt tokens computed in one step."
    ),
]
KvOption: TypeAlias = Annotated[
    KvType,
    typer.Option("--kv", envvar="G3N_KV", help="Type of the K/V cache: smaller ones save memory."),
]
PleOption: TypeAlias = Annotated[
    PleMode,
    typer.Option(
        "--ple",
        envvar="G3N_PLE",
        help="Where Gemma 3n's per-layer embeddings live: read from disk as needed, or in RAM.",
    ),
]
PrefillOption: TypeAlias = Annotated[
    PrefillMode,
    typer.Option(
        "--prefill",
        envvar="G3N_PREFILL",
        help="skip leaves the layers that share K/V out for prompt tokens, where the answer "
        "does not depend on them; full computes them all.",
    ),
]
RepackOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--repack/--no-repack",
        envvar="G3N_REPACK",
        help="Rearrange weights at load for the CPU's fastest kernels.",
    ),
]
KernelsOption: TypeAlias = Annotated[
    KernelsName,
    typer.Option(
        "--kernels",
        envvar="G3N_KERNELS",
        help="Matrix products of Gemma 3n: g3n's own, in the best variant for this CPU or in "
        "the one named here, or ggml's.",
    ),
]
SizeOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--size",
        metavar="SIZE",
        envvar="G3N_SIZE",
        autocompletion=complete_size,
        help="Which of the models nested in a Gemma 3n: full, auto (the largest that fits), a name "
        "that /size lists, a share of its parameters (70%), their number (3b), or widths by layer "
        "(8192*20,-*5,8192*10).",
    ),
]
PrefillSizeOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--prefill-size",
        metavar="SIZE",
        envvar="G3N_PREFILL_SIZE",
        autocompletion=complete_size,
        show_default="that of --size",
        help="Which of them reads prompts.",
    ),
]
KeepResidentOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--keep-resident",
        envvar="G3N_KEEP_RESIDENT",
        help="Keep all weights in memory whatever the size, so that /size takes no time.",
    ),
]
ActOption: TypeAlias = Annotated[
    ActType,
    typer.Option(
        "--act",
        envvar="G3N_ACT",
        help="What meets quantized matrices: values of 8 bits, or float32, which is slower and "
        "needs g3n's own kernels. q4 shows what 4 bits would lose; it saves no time.",
    ),
]
SpeculateOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--speculate",
        metavar="N",
        envvar="G3N_SPECULATE",
        help="Guess so many tokens at a time from what was said before, and check them with the "
        "next one: what repeats comes faster, answers stay the same. 0 is off.",
    ),
]
ModelOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        envvar="G3N_MODEL",
        show_default="the bundled model",
        autocompletion=complete_model,
        help="A model's name (g3n list), hf:OWNER/REPOSITORY:FILE, or the path of a GGUF file.",
    ),
]
DeviceOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        envvar="G3N_DEVICE",
        autocompletion=complete_device,
        help="Where the model runs: cpu, a device that g3n devices lists, rpc:HOST:PORT for one "
        "that g3n serve-device lends, or the address of an OpenAI-compatible server, such as "
        "http://127.0.0.1:8080/v1. All that is said is sent there; -m names one of its models "
        "(else its first), the environment variable G3N_API_KEY holds its key.",
    ),
]
GpuLayersOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--gpu-layers",
        metavar="N",
        envvar="G3N_GPU_LAYERS",
        show_default="all",
        help="How many layers lie on the device of --device; the CPU computes the others.",
    ),
]
GrammarOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--grammar",
        metavar="FILE",
        envvar="G3N_GRAMMAR",
        help="A GBNF grammar that the answer must follow.",
    ),
]
