"""``g3n chat``: talk to a model, or use it in a pipe."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from g3n_cli.commands.answer_options import (
    EventsOption,
    ExtractLastOption,
    ExtractOption,
    JsonOption,
    MaxTokensOption,
    MinPOption,
    NumOption,
    PrefixOption,
    RepeatPenaltyOption,
    SeedOption,
    StatsOption,
    StopOption,
    SystemOption,
    TempOption,
    TopKOption,
    TopPOption,
)
from g3n_cli.commands.asking import Wording, ask, is_at_terminal
from g3n_cli.commands.chat_checks import check_events, check_min_tps, check_num, check_stop
from g3n_cli.commands.constrained_options import (
    ChoiceExitOption,
    ChoiceOption,
    SchemaOption,
    Wanted,
    read_wanted,
)
from g3n_cli.commands.files import read_text
from g3n_cli.commands.media_options import (
    AudioPadOption,
    EndOption,
    FileOption,
    FpsOption,
    FramesOption,
    ImageSizeOption,
    MmprojOption,
    PreviewOption,
    RecordOption,
    SoundOption,
    StartOption,
    count_most_frames,
    find_encoders,
)
from g3n_cli.commands.model_defaults import apply_defaults
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
    SpeculateOption,
    ThreadsOption,
)
from g3n_cli.commands.remote import (
    is_address,
    open_remote,
    refuse_engine_flags,
)
from g3n_cli.commands.saving import GoOnOption, KvDiskOption, NoSaveOption, Saving, SessionOption
from g3n_cli.commands.template_options import (
    AppendOption,
    ParamOption,
    TemplateCommand,
    TemplateOption,
)
from g3n_cli.config import AUTO, CPU, KV_DISK_MB, EngineSettings, count_physical_cores

if TYPE_CHECKING:
    from g3n_cli.chat.autosize import AutoSize
    from g3n_cli.chat.conversation import Conversation, Question
    from g3n_cli.media.options import MediaOptions
    from g3n_cli.ui.oneshot import Form
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
  g3n chat -f photo.jpg "What is this?"
  git diff --staged | g3n chat -t commit

Ctrl+C stops the answer and keeps what was said.
"""
COMMAND_CLASS = TemplateCommand


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
    file: FileOption = None,
    template: TemplateOption = None,
    param: ParamOption = None,  # noqa: ARG001  TemplateCommand has read it
    append: AppendOption = "",
    device: DeviceOption = CPU,
    gpu_layers: GpuLayersOption = EngineSettings.gpu_layers,
    max_tokens: MaxTokensOption = None,
    system: SystemOption = "",
    temp: TempOption = None,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    min_p: MinPOption = None,
    repeat_penalty: RepeatPenaltyOption = None,
    seed: SeedOption = None,
    stop: StopOption = None,
    grammar: GrammarOption = None,
    schema: SchemaOption = None,  # noqa: ARG001  read_wanted has it, and the next two
    choice: ChoiceOption = None,  # noqa: ARG001
    choice_exit: ChoiceExitOption = False,  # noqa: ARG001
    prefix: PrefixOption = "",
    num: NumOption = 1,
    extract: ExtractOption = False,
    extract_last: ExtractLastOption = False,
    go_on: GoOnOption = False,
    session: SessionOption = None,
    no_save: NoSaveOption = False,
    kv_disk: KvDiskOption = KV_DISK_MB,
    json: JsonOption = False,
    events: EventsOption = False,
    stats: StatsOption = False,
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
    min_tps: Annotated[
        float | None,
        typer.Option(
            metavar="T",
            envvar="G3N_MIN_TPS",
            show_default=False,
            help="With --size auto: go down in size until decoding reaches T tokens per second.",
        ),
    ] = None,
    mmproj: MmprojOption = None,
    image_size: ImageSizeOption = "768",
    audio_pad: AudioPadOption = "188",
    fps: FpsOption = 1.0,
    frames: FramesOption = None,
    start: StartOption = 0.0,
    end: EndOption = None,
    sound: SoundOption = True,
    preview: PreviewOption = True,
    record: RecordOption = False,
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
        speculate=speculate,
        named_sizes=read_sizes(),
        device=CPU if is_address(device) else device,
        gpu_layers=None if is_address(device) else gpu_layers,
    )

    from g3n_cli.chat.options import AnswerOptions, ServerOptions
    from g3n_cli.media.options import MediaOptions
    from g3n_cli.ui.oneshot import Form
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
    check_num(num, for_server.temp)
    check_stop(stop or ())
    check_events(context)
    saving = Saving(go_on, session, no_save, kv_disk)

    media = MediaOptions(
        image_size=int(image_size),
        fps=fps,
        frames=frames,
        most_frames=count_most_frames(ctx),
        start_s=start,
        end_s=end,
        has_sound=sound,
    )

    terminal = Terminal.of_process()
    wording = Wording(prompt, template, append)
    form = Form(json, stats, "last" if extract_last else "first" if extract else None, num, events)
    is_conversation = wording.is_empty and form.may_talk and is_at_terminal(terminal)
    wanted = read_wanted(context, is_open=is_conversation)
    if is_address(device):
        refuse_engine_flags(context)
        media = replace(media, image_size=None)
        question = ask(wording, file or [], media, terminal, is_open=is_conversation)
        remote = open_remote(device, model, for_server, system, stop or (), terminal)
        with saving.record(remote, terminal):
            talk(
                remote,
                question,
                terminal,
                media,
                form=form,
                wanted=wanted,
                preview=preview,
            )
        return

    check_min_tps(min_tps, size)
    question = ask(wording, file or [], media, terminal, is_open=is_conversation, record=record)
    rules = None if grammar is None else read_text(grammar)

    from g3n_cli.chat.autosize import AutoSize
    from g3n_cli.chat.open import open_session

    spec = resolve(model)
    settings = apply_defaults(settings, spec.defaults, context)
    options = AnswerOptions(
        # As the module secrets does it, which would load OpenSSL.
        int.from_bytes(os.urandom(4)) if seed is None else seed,
        **{**spec.sampling.given, **given},
    )
    check_num(num, options.temp)
    kinds = [part.kind for part in question.media]
    projector = find_encoders(spec, mmproj, settings.n_threads, kinds, keeps_rows=not no_save)
    opening = open_session(
        spec,
        settings,
        options,
        projector,
        system=system,
        stop=stop or (),
        grammar=rules,
        prefix=prefix,
        pads_audio=audio_pad != "none",
    )
    with ExitStack() as stack:
        started = time.perf_counter()
        with show_loading(terminal, spec.name, form):
            local = stack.enter_context(opening)
        load_s = time.perf_counter() - started
        auto = AutoSize(local.engine, min_tps) if settings.size == AUTO else None
        if auto and local.engine.sizes:
            terminal.note(auto.choose())
        stack.enter_context(saving.record(local, terminal))
        talk(
            local,
            question,
            terminal,
            media,
            auto,
            load_s,
            notice=spec.notice,
            form=form,
            wanted=wanted,
            preview=preview,
        )


def show_loading(terminal: Terminal, name: str, form: Form) -> AbstractContextManager[None]:
    """Tell that a model is being loaded: as an event, and as a line that goes away again."""
    from g3n_cli.ui.events import Events
    from g3n_cli.ui.progress import show_waiting

    if form.as_events:
        Events(terminal).begin("load")
    return show_waiting(terminal, f"loading {name} ...")


def talk(  # noqa: PLR0913  the flags say how the others are shown
    conversation: Conversation,
    question: Question,
    terminal: Terminal,
    media: MediaOptions,
    auto: AutoSize | None = None,
    load_s: float | None = None,
    *,
    notice: str = "",
    form: Form,
    wanted: Wanted | None = None,
    preview: bool,
) -> None:
    """Answer one question, or without its text talk until the person leaves."""
    from g3n_cli.chat.presence import present
    from g3n_cli.ui.files import Files

    files = Files(conversation, terminal, media, question.attachments, has_preview=preview)
    with present(conversation, "chat"):
        if not question.text:
            from g3n_cli.ui.repl import Repl

            Repl(conversation, terminal, auto, notice, files, show_stats=form.show_stats).run()
            return
        from g3n_cli.ui.oneshot import answer

        files.show_all()
        if wanted is None:
            answer(conversation, question, terminal, form, load_s)
        elif code := wanted.answer(conversation, question, terminal, form, load_s):
            raise typer.Exit(code)
