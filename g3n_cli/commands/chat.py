"""``g3n chat``: talk to a model, or use it in a pipe."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from g3n_cli.commands.files import read_text
from g3n_cli.commands.options import (
    ActOption,
    BatchOption,
    CtxOption,
    DeviceOption,
    GpuLayersOption,
    GrammarOption,
    KeepResidentOption,
    KernelsOption,
    KvOption,
    ModelOption,
    PleOption,
    PrefillOption,
    PrefillSizeOption,
    RepackOption,
    SizeOption,
    ThreadsOption,
)
from g3n_cli.commands.remote import (
    is_address,
    open_remote,
    refuse_engine_flags,
)
from g3n_cli.config import AUTO, CPU, EngineSettings, count_physical_cores
from g3n_cli.errors import UsageError

if TYPE_CHECKING:
    from g3n_cli.chat.autosize import AutoSize
    from g3n_cli.chat.conversation import Conversation
    from g3n_cli.registry.models import ModelSpec
    from g3n_cli.ui.terminal import Terminal


HELP = """Talk to a model, or use it in a pipe.

In a terminal, g3n chat alone starts a conversation; /help there explains the rest.

With a prompt, or with something on standard input, it answers once and ends: the answer goes
to stdout as it comes, everything else to stderr. A prompt and an input are joined, with a
blank line between:

\b
  g3n chat "Name three rivers"
  git diff | g3n chat "Write a commit message"
  g3n chat --json -n 50 "Say hello" | jq .decode_tps

Ctrl+C stops the answer and keeps what was said.
"""


def chat(  # noqa: PLR0913  one parameter for each flag
    *,
    context: typer.Context,
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT",
            show_default=False,
            help="What to ask. Without it, and with a terminal, a conversation starts.",
        ),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = CPU,
    gpu_layers: GpuLayersOption = EngineSettings.gpu_layers,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens",
            "-n",
            metavar="N",
            envvar="G3N_MAX_TOKENS",
            show_default="until the model ends",
            help="Most tokens of an answer.",
        ),
    ] = None,
    system: Annotated[
        str,
        typer.Option(
            "--system",
            "-s",
            metavar="TEXT",
            envvar="G3N_SYSTEM",
            show_default=False,
            help="What the model is told before the conversation, for example how to answer.",
        ),
    ] = "",
    temp: Annotated[
        float | None,
        typer.Option(
            metavar="T",
            envvar="G3N_TEMP",
            show_default="the model's, else 1.0",
            help="Temperature: higher is more varied, 0 always takes the likeliest token.",
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            envvar="G3N_TOP_K",
            show_default="the model's, else 64",
            help="Draw from the K likeliest tokens; 0 from all.",
        ),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            envvar="G3N_TOP_P",
            show_default="the model's, else 0.95",
            help="Draw from the fewest tokens with this probability together; 1 is off.",
        ),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            envvar="G3N_MIN_P",
            show_default="the model's, else 0.0",
            help="Leave out tokens below this share of the likeliest one's probability; 0 is off.",
        ),
    ] = None,
    repeat_penalty: Annotated[
        float | None,
        typer.Option(
            metavar="R",
            envvar="G3N_REPEAT_PENALTY",
            show_default="the model's, else 1.0",
            help="Divide the odds of tokens among the last 64; 1 is off.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            envvar="G3N_SEED",
            show_default="random",
            help="Same seed, same answer; --json tells which one was used.",
        ),
    ] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            envvar="G3N_STOP",
            show_default=False,
            help="End the answer before this text; may be given several times.",
        ),
    ] = None,
    grammar: GrammarOption = None,
    json: Annotated[
        bool,
        typer.Option(
            "--json", envvar="G3N_JSON", help="Print one JSON object: text, timings, stop reason."
        ),
    ] = False,
    stats: Annotated[
        bool,
        typer.Option(
            "--stats", envvar="G3N_STATS", help="After each answer, show its figures on stderr."
        ),
    ] = False,
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
    keep_resident: KeepResidentOption = EngineSettings.keep_resident,
    act: ActOption = EngineSettings.act,
    min_tps: Annotated[
        float | None,
        typer.Option(
            metavar="T",
            envvar="G3N_MIN_TPS",
            show_default=False,
            help="With --size auto: go down in size until decoding reaches T tokens per second.",
        ),
    ] = None,
) -> None:
    """Talk to a model, or use it in a pipe."""
    from g3n_cli.registry.models import read_sizes, resolve

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
        keep_resident=keep_resident,
        act=act,
        named_sizes=read_sizes(),
        device=CPU if is_address(device) else device,
        gpu_layers=None if is_address(device) else gpu_layers,
    )

    from g3n_cli.chat.options import AnswerOptions, ServerOptions
    from g3n_cli.ui.terminal import Terminal

    flags = {
        "temp": temp,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repeat_penalty": repeat_penalty,
        "max_tokens": max_tokens,
    }
    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    for_server = ServerOptions(seed, **given)  # what makes no sense is told before any work
    if "" in (stop or ()):
        raise UsageError("--stop must not be empty")

    terminal = Terminal.of_process()
    is_conversation = prompt is None and not json and is_at_terminal(terminal)
    if is_address(device):
        refuse_engine_flags(context)
        question = None if is_conversation else read_prompt(prompt, terminal)
        remote = open_remote(device, model, for_server, system, stop or (), terminal)
        talk(remote, question, terminal, as_json=json, show_stats=stats)
        return

    if min_tps is not None and (size != AUTO or min_tps <= 0):
        raise UsageError("--min-tps wants --size auto, and a number above 0")
    question = None if is_conversation else read_prompt(prompt, terminal)
    rules = None if grammar is None else read_text(grammar)

    from g3n_cli.chat.autosize import AutoSize
    from g3n_cli.chat.session import Session
    from g3n_cli.engine.open import open_engine
    from g3n_cli.ui.progress import show_waiting

    spec = resolve(model)
    started = time.perf_counter()
    with show_waiting(terminal, f"loading {spec.name} ..."):
        engine = open_engine(spec.path, spec.name, settings)
    load_s = time.perf_counter() - started
    try:
        chosen_seed = secrets.randbits(32) if seed is None else seed
        options = AnswerOptions(chosen_seed, **{**recommended(spec), **given})
        auto = AutoSize(engine, min_tps) if size == AUTO else None
        if auto and engine.sizes:
            terminal.note(auto.choose())
        session = Session(engine, options, system, stop or (), rules)
        talk(
            session,
            question,
            terminal,
            auto,
            load_s,
            notice=spec.notice,
            as_json=json,
            show_stats=stats,
        )
    finally:
        engine.close()


def talk(  # noqa: PLR0913  the two flags say how the other five are shown
    conversation: Conversation,
    question: str | None,
    terminal: Terminal,
    auto: AutoSize | None = None,
    load_s: float | None = None,
    *,
    notice: str = "",
    as_json: bool,
    show_stats: bool,
) -> None:
    """Answer one question, or without one talk until the person leaves."""
    if question is None:
        from g3n_cli.ui.repl import Repl

        Repl(conversation, terminal, auto, notice, show_stats=show_stats).run()
        return
    from g3n_cli.ui import oneshot

    if as_json:
        oneshot.answer_as_json(conversation, question, terminal, load_s)
        return
    oneshot.answer_as_text(conversation, question, terminal)
    if show_stats:
        oneshot.note_stats(conversation, terminal)


def recommended(spec: ModelSpec) -> dict[str, float]:
    """Sampling settings that the model's authors recommend, by the names of the flags."""
    sampling = spec.sampling
    values = {
        "temp": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
    }
    return {name: value for name, value in values.items() if value is not None}


def is_at_terminal(terminal: Terminal) -> bool:
    """Whether a person can both type and read."""
    return terminal.stdin.isatty() and terminal.stdout.isatty()


def read_prompt(argument: str | None, terminal: Terminal) -> str:
    """The prompt of a single answer: argument and standard input, a blank line between.

    Raises:
        UsageError: there is neither.
        InputError: standard input is not text.
    """
    parts = [argument] if argument is not None and argument.strip() else []
    if not terminal.stdin.isatty():
        parts.append(terminal.read_input())
    elif argument is None:
        terminal.note("Type your prompt; end it with Ctrl+D on a line of its own.")
        parts.append(terminal.read_input())
    prompt = "\n\n".join(part for part in parts if part.strip())
    if not prompt:
        raise UsageError("no prompt", hint='try g3n chat "your question"')
    return prompt
