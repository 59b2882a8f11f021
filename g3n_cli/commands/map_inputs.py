"""``g3n map``: one prompt over many inputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from g3n_cli.commands.answer_options import (
    MaxTokensOption,
    MinPOption,
    RepeatPenaltyOption,
    StopOption,
    SystemOption,
    TopKOption,
    TopPOption,
)
from g3n_cli.commands.chat_checks import check_stop
from g3n_cli.commands.constrained_options import (
    ChoiceOption,
    SchemaOption,
    read_choices,
    read_constraint,
)
from g3n_cli.commands.files import read_text
from g3n_cli.commands.map_run import Job, LocalModel, ServerModel, check_output, run
from g3n_cli.commands.media_options import MmprojOption
from g3n_cli.commands.model_defaults import apply_defaults
from g3n_cli.commands.options import (
    ActOption,
    BatchOption,
    CtxOption,
    DeviceOption,
    GpuLayersOption,
    GrammarOption,
    KernelsOption,
    KvOption,
    ModelOption,
    PleOption,
    PrefillOption,
    PrefillSizeOption,
    RepackOption,
    SizeOption,
    SpeculateOption,
    ThreadsOption,
)
from g3n_cli.commands.remote import is_address, refuse_engine_flags
from g3n_cli.config import CPU, EngineSettings, count_physical_cores

if TYPE_CHECKING:
    from g3n_cli.chat.inputs import FileInput, Form, Input, InputFormat
    from g3n_cli.ui.terminal import Terminal

MOST_FILES = 1_000_000

FOR_SERVERS = frozenset(
    (
        *("prompt", "files", "read", "format_", "output", "resume"),
        *("model", "device", "system", "stop", "max_tokens"),
        *("temp", "top_k", "top_p", "min_p", "repeat_penalty", "seed"),
        "schema",
    )
)
"""Parameters of ``g3n map`` that mean something to a server."""

HELP = """Ask the same about many inputs: one prompt, an answer for each line or file.

{} in the prompt stands for the input; without it the input follows after a blank line. Each
input is answered by itself. What all prompts begin with is computed once. Results come in the
order of the inputs, each as soon as it is there:

\b
  g3n map "Sum up: {}" < lines.txt > out.jsonl
  g3n map "Translate into {language}: {text}" --read jsonl -o text < records.jsonl
  g3n map "Is this a complaint? yes or no: {}" --choice yes,no < lines.txt > out.jsonl
  g3n map "Describe this." --files 'photos/*.jpg' --output out.jsonl --resume

An input that cannot be answered becomes a result with an error; the exit code is then 1.
"""


def map_inputs(  # noqa: PLR0913  one parameter for each flag
    *,
    context: typer.Context,
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="What to ask; {} stands for the input.")
    ],
    files: Annotated[
        list[str] | None,
        typer.Option(
            "--files",
            "-f",
            metavar="PATH",
            show_default=False,
            help="Each file is an input: text, sound, picture, PDF. A pattern or a folder stands "
            "for all its files. May be given several times; standard input is not read then.",
        ),
    ] = None,
    read: Annotated[
        Literal["lines", "jsonl", "csv", "tsv"],
        typer.Option(
            "--read",
            envvar="G3N_READ",
            help="What standard input holds: lines, or records whose fields {name} stands for. "
            "The first row of csv and tsv names the fields.",
        ),
    ] = "lines",
    format_: Annotated[
        Literal["jsonl", "text", "tsv"],
        typer.Option(
            "--format",
            "-o",
            envvar="G3N_FORMAT",
            help="Of results: a JSON object, the answer alone, or index, stop reason and answer; "
            "one line for each input.",
        ),
    ] = "jsonl",
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default="standard output", help="Write results to FILE."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the results that --output has from an earlier run."
        ),
    ] = False,
    model: ModelOption = None,
    device: DeviceOption = CPU,
    gpu_layers: GpuLayersOption = EngineSettings.gpu_layers,
    max_tokens: MaxTokensOption = None,
    system: SystemOption = "",
    temp: Annotated[
        float,
        typer.Option(
            metavar="T",
            envvar="G3N_TEMP",
            help="Temperature: higher is more varied, 0 always takes the likeliest token.",
        ),
    ] = 0.0,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    min_p: MinPOption = None,
    repeat_penalty: RepeatPenaltyOption = None,
    seed: Annotated[
        int,
        typer.Option(
            metavar="N", envvar="G3N_SEED", help="Of the first input; each next one has one more."
        ),
    ] = 0,
    stop: StopOption = None,
    grammar: GrammarOption = None,
    schema: SchemaOption = None,  # noqa: ARG001  read_constraint has it
    choice: ChoiceOption = None,
    ctx: CtxOption = EngineSettings.n_ctx,
    threads: ThreadsOption = None,
    batch: BatchOption = EngineSettings.n_batch,
    kv: KvOption = EngineSettings.kv,
    ple: PleOption = EngineSettings.ple,
    prefill: PrefillOption = EngineSettings.prefill,
    repack: RepackOption = EngineSettings.repack,
    kernels: KernelsOption = EngineSettings.kernels,
    size: SizeOption = EngineSettings.size,
    prefill_size: PrefillSizeOption = EngineSettings.prefill_size,
    act: ActOption = EngineSettings.act,
    speculate: SpeculateOption = EngineSettings.speculate,
    mmproj: MmprojOption = None,
) -> None:
    """Ask the same about many inputs."""
    from g3n_cli.chat.inputs import Form
    from g3n_cli.chat.options import AnswerOptions, ServerOptions
    from g3n_cli.chat.schema.answer import AnswerSchema
    from g3n_cli.media.options import MediaOptions
    from g3n_cli.registry.models import read_sizes, resolve
    from g3n_cli.ui.terminal import Terminal

    is_remote = is_address(device)
    settings = EngineSettings(
        n_ctx=ctx,
        n_batch=batch,
        n_threads=count_physical_cores() if threads is None else threads,
        kv=kv,
        ple=ple,
        prefill=prefill,
        repack=repack,
        kernels=kernels,
        size=size,
        prefill_size=prefill_size,
        act=act,
        speculate=speculate,
        named_sizes=read_sizes(),
        device=CPU if is_remote else device,
        gpu_layers=None if is_remote else gpu_layers,
    )
    flags = {
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repeat_penalty": repeat_penalty,
        "max_tokens": max_tokens,
    }
    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    for_server = ServerOptions(seed, temp, **given)  # what makes no sense is told before any work
    stops = tuple(stop or ())
    check_stop(stops)
    check_output(output, format_, resume=resume)
    constraint = read_constraint(context, read_choices(choice or ()))
    if is_remote:
        refuse_engine_flags(context, FOR_SERVERS)

    terminal = Terminal.of_process()
    form = Form(prompt)
    inputs = tuple(list_files(files, output) if files else read_inputs(read, form, terminal))
    answers: LocalModel | ServerModel
    if is_remote:
        assert constraint is None or isinstance(constraint, AnswerSchema)  # choices are refused
        answers = ServerModel(device, model, for_server, system, stops, constraint)
    else:
        spec = resolve(model)
        answers = LocalModel(
            spec,
            apply_defaults(settings, spec.defaults, context),
            AnswerOptions(seed, **{**spec.sampling.given, **given, "temp": temp}),
            system,
            stops,
            None if grammar is None else read_text(grammar),
            mmproj,
            constraint,
        )
    media = MediaOptions(image_size=None) if is_remote else MediaOptions()
    run(Job(form, inputs, media, answers), format_, output, terminal, resume=resume)


def list_files(names: list[str], output: Path | None) -> Iterator[FileInput]:
    """Files that were named, but for the one that results go to.

    Raises:
        InputError: a name stands for no file.
    """
    from g3n_cli.chat.inputs import FileInput
    from g3n_cli.media.attach import find_files

    own = None if output is None else output.resolve()
    found = (path for name in names for path in find_files(name, MOST_FILES))
    others = (path for path in found if path.resolve() != own)
    return (FileInput(index, path) for index, path in enumerate(others))


def read_inputs(kind: InputFormat, form: Form, terminal: Terminal) -> Iterator[Input]:
    """What standard input holds.

    Raises:
        InputError: it cannot be used.
    """
    from g3n_cli.chat.inputs import READERS

    if terminal.stdin.isatty():
        terminal.note("Type the inputs, one a line; end them with Ctrl+D.")
    return READERS[kind](terminal.read_bytes(), form)
