"""``g3n serve``: answer other programs with a model of this machine."""

from __future__ import annotations

import importlib.util
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Annotated

import typer

from g3n_cli.commands.media_options import AudioPadOption, MmprojOption, find_encoders
from g3n_cli.commands.model_defaults import apply_defaults
from g3n_cli.commands.options import (
    ActOption,
    BatchOption,
    CtxOption,
    DeviceOption,
    GpuLayersOption,
    KeepResidentOption,
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
from g3n_cli.commands.remote import is_address
from g3n_cli.config import CPU, EngineSettings, count_physical_cores
from g3n_cli.errors import UsageError

HELP = """Answer other programs with a model of this machine.

They ask in the ways of OpenAI, llama.cpp and ollama: chats and texts, streamed or not. One request
is computed at a time, the others wait. Only programs of this machine are answered, unless --host
says otherwise: then they need the token in the environment variable G3N_SERVE_KEY, or the one
that is shown. Ctrl+C ends it.

\b
  g3n serve -m gemma-3n-e2b
  curl http://127.0.0.1:8033/v1/chat/completions \\
    -d '{"messages": [{"role": "user", "content": "Name three rivers"}]}'
  g3n chat --device http://127.0.0.1:8033/v1
"""

KEY_VARIABLE = "G3N_SERVE_KEY"


def serve(  # noqa: PLR0913  one parameter for each flag
    *,
    context: typer.Context,
    model: ModelOption = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", envvar="G3N_HOST", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=65535,
            envvar="G3N_PORT",
            help="Port to listen on; 0 takes a free one.",
        ),
    ] = 8033,
    queue: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            envvar="G3N_QUEUE",
            help="Most requests that wait; more are turned away.",
        ),
    ] = 32,
    cache: Annotated[
        int,
        typer.Option(
            metavar="MB",
            min=0,
            envvar="G3N_CACHE",
            help="Memory for what conversations have computed while others are answered; 0 keeps "
            "the last one only.",
        ),
    ] = 512,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            envvar="G3N_ALLOW_ORIGIN",
            show_default="no web pages",
            help="Let pages of this origin ask, such as http://localhost:3000; * lets all. May be "
            "given several times.",
        ),
    ] = None,
    device: DeviceOption = CPU,
    gpu_layers: GpuLayersOption = EngineSettings.gpu_layers,
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
    speculate: SpeculateOption = EngineSettings.speculate,
    mmproj: MmprojOption = None,
    audio_pad: AudioPadOption = "188",
) -> None:
    """Answer other programs with a model of this machine."""
    from g3n_cli.registry.models import read_sizes, resolve

    check_installed()
    if is_address(device):
        raise UsageError("g3n serve runs a model on this machine", "leave out --device http://...")
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
        speculate=speculate,
        named_sizes=read_sizes(),
        device=device,
        gpu_layers=gpu_layers,
    )
    token = read_token()

    from g3n_cli.chat.presence import find_folder
    from g3n_cli.serve.gate import Access
    from g3n_cli.serve.model import open_served
    from g3n_cli.serve.server import is_loopback, listen
    from g3n_cli.serve.server import serve as serve_model
    from g3n_cli.ui.progress import show_waiting
    from g3n_cli.ui.terminal import Terminal

    terminal = Terminal.of_process()
    spec = resolve(model)
    settings = apply_defaults(settings, spec.defaults, context)
    projector = find_encoders(spec, mmproj, settings.n_threads, [], keeps_rows=False)
    with ExitStack() as stack:
        listener, log = stack.enter_context(listen(host, port)), stack.enter_context(open_log())
        is_local = is_loopback(listener)
        if token is None and not is_local:
            token = secrets.token_urlsafe(24)
            terminal.note(f"token: {token} (set {KEY_VARIABLE} to choose one)")
        access = Access(token, tuple(allow_origin or ()), is_local)
        opening = open_served(
            spec,
            settings,
            projector,
            pads_audio=audio_pad != "none",
            cache_bytes=cache * 1_000_000,
        )
        with show_waiting(terminal, f"loading {spec.name} ..."):
            served = stack.enter_context(opening)
        serve_model(served, listener, access, queue, find_folder(), log)


def check_installed() -> None:
    """Refuse to go on without what the extra installs.

    Raises:
        UsageError: it is missing.
    """
    if not all(importlib.util.find_spec(name) for name in ("starlette", "uvicorn")):
        raise UsageError("g3n serve needs two more packages", "pip install starlette uvicorn")


def read_token() -> str | None:
    """What clients must send, from the environment.

    Raises:
        UsageError: it cannot be sent.
    """
    token = os.environ.get(KEY_VARIABLE, "").strip()
    if not (token.isascii() and token.isprintable()):
        raise UsageError(f"{KEY_VARIABLE} has characters that no token has")
    return token or None


@contextmanager
def open_log() -> Iterator[Callable[[str], None]]:
    """What writes lines to standard error, whatever else becomes of it.

    llama.cpp's parser of grammars writes to descriptor 2, which is another file for that moment;
    lines of the server's thread go to a copy.
    """
    from g3n_cli.ui.text import make_visible

    try:
        fd = os.dup(2)
    except OSError:  # closed
        fd = os.open(os.devnull, os.O_WRONLY)
    with open(fd, "w", encoding="utf-8", errors="replace", buffering=1) as stream:

        def log(line: str) -> None:
            with suppress(OSError):  # nobody reads it any more
                stream.write(make_visible(line) + "\n")

        yield log
