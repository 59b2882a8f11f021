"""``g3n transcribe``: what is said in files of sound and video."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from g3n_cli.commands.media_options import (
    STDIN,
    AudioPadOption,
    EndOption,
    MmprojOption,
    StartOption,
    check_stdin,
    find_encoders,
)
from g3n_cli.commands.options import (
    CtxOption,
    KernelsOption,
    KvOption,
    ModelOption,
    PleOption,
    SizeOption,
    ThreadsOption,
)
from g3n_cli.config import EngineSettings, count_physical_cores
from g3n_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from g3n_cli.chat.session import Session
    from g3n_cli.media.options import MediaOptions
    from g3n_cli.media.source import Source
    from g3n_cli.ui.subtitles import SubtitleFormat
    from g3n_cli.ui.terminal import Terminal

HELP = """Write down what is said in files of sound and video, of any length.

Long files are split at quiet places into pieces of at most 30 s; each is written as soon as it
is done. Of several files in txt, each begins with a line of its name.

\b
  g3n transcribe talk.mp3
  g3n transcribe film.mkv -o srt > film.srt
  ffmpeg -i URL -f wav - | g3n transcribe - --translate English
"""


def transcribe(  # noqa: PLR0913  one parameter for each flag
    *,
    file: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Sound or video; - is standard input.")
    ],
    model: ModelOption = None,
    translate: Annotated[
        str | None,
        typer.Option(
            metavar="LANGUAGE", show_default=False, help="Write a translation, as in English."
        ),
    ] = None,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", help="In txt, begin each piece with its time.")
    ] = False,
    output: Annotated[
        Literal["txt", "srt", "vtt", "json"],
        typer.Option("--output", "-o", help="Format; json is an object on a line for each piece."),
    ] = "txt",
    start: StartOption = 0.0,
    end: EndOption = None,
    mmproj: MmprojOption = None,
    audio_pad: AudioPadOption = "188",
    ctx: CtxOption = 1024,
    threads: ThreadsOption = None,
    kv: KvOption = EngineSettings.kv,
    ple: PleOption = EngineSettings.ple,
    kernels: KernelsOption = EngineSettings.kernels,
    size: SizeOption = EngineSettings.size,
) -> None:
    """Write down what is said in files of sound and video."""
    from g3n_cli.media.options import MediaOptions
    from g3n_cli.registry.models import read_sizes, resolve

    settings = EngineSettings(
        n_ctx=ctx,
        n_threads=count_physical_cores() if threads is None else threads,
        kv=kv,
        ple=ple,
        kernels=kernels,
        size=size,
        named_sizes=read_sizes(),
    )
    options = MediaOptions(start_s=start, end_s=end)
    if translate is not None and not translate.strip():
        raise UsageError("--translate wants a language", "for example --translate English")
    if len(file) > 1 and output in ("srt", "vtt"):
        raise UsageError(f"-o {output} takes one file", "run g3n transcribe once for each")

    from g3n_cli.chat.open import open_session
    from g3n_cli.chat.options import AnswerOptions
    from g3n_cli.chat.presence import present
    from g3n_cli.ui.progress import show_waiting
    from g3n_cli.ui.terminal import Terminal

    terminal = Terminal.of_process()
    check_stdin(file, terminal, "-")
    sources = [open_source(name, terminal) for name in file]
    spec = resolve(model)
    projector = find_encoders(spec, mmproj, settings.n_threads, ["audio"], keeps_rows=False)
    opening = open_session(
        spec,
        settings,
        AnswerOptions(seed=0, temp=0),
        projector,
        pads_audio=audio_pad != "none",
        keeps_encoder=True,
    )
    with ExitStack() as stack:
        with show_waiting(terminal, f"loading {spec.name} ..."):
            session = stack.enter_context(opening)
        stack.enter_context(present(session, "transcribe"))
        write_all(session, sources, options, terminal, translate, output, has_times=timestamps)


def open_source(name: str, terminal: Terminal) -> Source:
    """A file, checked before a model is loaded for it; or standard input.

    Raises:
        InputError: it cannot be read, or has no sound.
    """
    from g3n_cli.media.audio import check_sound
    from g3n_cli.media.detect import detect
    from g3n_cli.media.source import Source

    source = Source.of_bytes(terminal.read_bytes()) if name == STDIN else Source.of_path(Path(name))
    if detect(source) in ("text", "pdf"):
        raise InputError(f"{source.name} is a document, it has no sound")
    check_sound(source)
    return source


def write_all(  # noqa: PLR0913  what, of which files, how, and where to
    session: Session,
    sources: list[Source],
    options: MediaOptions,
    terminal: Terminal,
    language: str | None,
    output: SubtitleFormat,
    *,
    has_times: bool,
) -> None:
    """Write all segments of all files to stdout, as they are done; of several with their names."""
    from g3n_cli.chat.transcribe import make_instruction, transcribe
    from g3n_cli.media.parts import format_time
    from g3n_cli.ui.progress import ClipProgress
    from g3n_cli.ui.subtitles import format_header, format_segment, format_title

    instruction = make_instruction(language)
    terminal.write(format_header(output))
    for i, source in enumerate(sources):
        if len(sources) > 1:
            terminal.write(format_title(source.name, output, is_first=i == 0))
        with ClipProgress(terminal, source.name, _find_length_s(source, options)) as progress:
            segments = transcribe(session, source, options, instruction, progress)
            for number, segment in enumerate(segments, 1):
                progress.clear()
                shown = format_segment(segment, output, number, source.name, has_times=has_times)
                terminal.write(shown)
                if not segment.is_complete:
                    span = f"{format_time(segment.start_s)} - {format_time(segment.end_s)}"
                    terminal.note(
                        f"warning: {source.name} {span} is cut off: the context is full,"
                        " --ctx makes it larger"
                    )


def _find_length_s(source: Source, options: MediaOptions) -> float | None:
    """Where the work on a file ends, if it says so."""
    from g3n_cli.media.audio import find_duration_s

    duration_s = find_duration_s(source)
    if options.end_s is None:
        return duration_s
    return options.end_s if duration_s is None else min(options.end_s, duration_s)
