"""Options about files that go with a message, and reading them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from g3n_cli.errors import UsageError

if TYPE_CHECKING:
    from g3n_cli.engine.encoders.open import Projector
    from g3n_cli.media.options import MediaOptions
    from g3n_cli.media.parts import Attachment, MediumKind
    from g3n_cli.registry.models import ModelSpec
    from g3n_cli.ui.terminal import Terminal

FILES = "Files"
STDIN = "-"
AudioPad = Literal["188", "none"]
ImageSize = Literal["768", "512", "256"]

_FRAME_POSITIONS = 266
"""Of a frame of a video, its time and what surrounds it included."""

FileOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--file",
        "-f",
        metavar="PATH",
        show_default=False,
        rich_help_panel=FILES,
        help="Send a file along: picture, sound, video, PDF, text; a folder, a pattern, or - for "
        "standard input. May be given several times.",
    ),
]
MmprojOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--mmproj",
        metavar="FILE",
        envvar="G3N_MMPROJ",
        show_default="the one beside the model",
        rich_help_panel=FILES,
        help="The model's encoders of pictures and sound.",
    ),
]
ImageSizeOption: TypeAlias = Annotated[
    ImageSize,
    typer.Option(
        "--image-size",
        envvar="G3N_IMAGE_SIZE",
        rich_help_panel=FILES,
        help="Pixels of a side that pictures are brought to: fewer are faster, and less exact.",
    ),
]
AudioPadOption: TypeAlias = Annotated[
    AudioPad,
    typer.Option(
        "--audio-pad",
        envvar="G3N_AUDIO_PAD",
        rich_help_panel=FILES,
        help="188 fills each piece of sound up to 188 tokens, as transformers does.",
    ),
]
FpsOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--fps",
        metavar="N",
        envvar="G3N_FPS",
        rich_help_panel=FILES,
        help="Frames per second of a video; fewer of a long one, where scenes change.",
    ),
]
FramesOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--frames",
        metavar="N",
        envvar="G3N_FRAMES",
        show_default="as --fps says",
        rich_help_panel=FILES,
        help="Take N frames of a video or an animation, evenly spread.",
    ),
]


def read_time(text: str) -> float:
    """Seconds of a time that a flag gives.

    Raises:
        typer.BadParameter: it is none.
    """
    from g3n_cli.media.parts import parse_time

    try:
        return parse_time(str(text))  # a default is a number already
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time: give seconds, or 1:05") from None


StartOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--start",
        metavar="TIME",
        parser=read_time,
        rich_help_panel=FILES,
        help="Sound and video from this time on, in seconds or as 1:05.",
    ),
]
EndOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--end",
        metavar="TIME",
        parser=read_time,
        show_default=False,
        rich_help_panel=FILES,
        help="Sound and video up to this time.",
    ),
]
SoundOption: TypeAlias = Annotated[
    bool,
    typer.Option("--sound/--no-sound", rich_help_panel=FILES, help="The sound of videos."),
]
PreviewOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--preview/--no-preview",
        envvar="G3N_PREVIEW",
        rich_help_panel=FILES,
        help="In a terminal, show pictures small.",
    ),
]
RecordOption: TypeAlias = Annotated[
    bool,
    typer.Option("--record", rich_help_panel=FILES, help="Send along what the microphone hears."),
]


def count_most_frames(n_ctx: int) -> int:
    """Frames of a video that leave a third of the context to sound, question and answer."""
    return max(1, n_ctx * 2 // 3 // _FRAME_POSITIONS)


def find_encoders(
    spec: ModelSpec,
    mmproj: Path | None,
    n_threads: int,
    kinds: Iterable[MediumKind],
    *,
    keeps_rows: bool,
) -> Projector:
    """A model's encoders, certain to be there for the given kinds of media.

    With ``keeps_rows``, what pictures become is kept on disk and taken from there.

    Raises:
        InputError: they do not, or the named file is not there.
        ModelError: the file is broken.
    """
    import platformdirs

    from g3n_cli.engine.encoders.open import Projector
    from g3n_cli.registry.projector import find_projector

    path = find_projector(spec.path, mmproj, spec.projector)
    rows_folder = Path(platformdirs.user_cache_dir("g3n")) / "rows"
    projector = Projector(path, n_threads, rows_folder if keeps_rows else None)
    projector.check(*kinds)
    return projector


def check_stdin(names: Sequence[str], terminal: Terminal, shown: str) -> None:
    """Refuse to wait for a person, or to read standard input twice.

    Args:
        names: Of files, as they were given.
        terminal: Whose input is meant.
        shown: How the command line names standard input.

    Raises:
        UsageError: that would be so.
    """
    if names.count(STDIN) > 1:
        raise UsageError(f"{shown} can be given once only")
    if STDIN in names and terminal.stdin.isatty():
        raise UsageError(f"{shown} wants something piped in")


def read_files(
    names: Sequence[str], options: MediaOptions, terminal: Terminal
) -> tuple[Attachment, ...]:
    """All files that were named, in order; standard input where ``-`` stands.

    Raises:
        InputError: one of them cannot be used.
    """
    if not names:
        return ()
    from g3n_cli.media.attach import read_all, read_attachment
    from g3n_cli.media.source import Source
    from g3n_cli.ui.progress import show_waiting

    attachments: list[Attachment] = []
    for name in names:
        with show_waiting(terminal, f"reading {name} ..."):
            if name == STDIN:
                source = Source.of_bytes(terminal.read_bytes())
                attachments.append(read_attachment(source, options))
            else:
                attachments += read_all(name, options)
    return tuple(attachments)
