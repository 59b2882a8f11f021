"""Sound to text, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from g3n_cli.chat.conversation import Question
from g3n_cli.media.audio import stream_clips
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.parts import Attachment
from g3n_cli.media.source import Source

if TYPE_CHECKING:
    from g3n_cli.chat.session import Session


@dataclass(frozen=True)
class Segment:
    """What was said in a piece of sound.

    Attributes:
        start_s: Where the piece begins.
        end_s: Where it ends.
        text: What was said, or its translation.
        is_complete: The model ended the text; else the context was full.
    """

    start_s: float
    end_s: float
    text: str
    is_complete: bool = True


def make_instruction(language: str | None, spoken: str | None = None) -> str:
    """What the model is asked for.

    Args:
        language: What to translate into, or None to write down what is said.
        spoken: In which language it is said, if that is known; it counts without translation.
    """
    if language is None:
        which = f", which is in {spoken}" if spoken else ""
        return f"Transcribe this audio{which}. Write only what is said."
    return f"Translate the speech in this audio into {language}. Write only the translation."


def transcribe(
    session: Session,
    source: Source,
    options: MediaOptions,
    instruction: str,
    on_clip: Callable[[float, float], None],
    check: Callable[[], None] = lambda: None,
) -> Iterator[Segment]:
    """Segments of a file as they are done; each piece is a conversation of its own.

    Args:
        session: Cleared before each piece.
        source: The file.
        options: Which part of it.
        instruction: What the model is asked for.
        on_clip: Told start and end of each piece before it is worked on, in seconds.
        check: Called between steps of the computation; what it raises ends it.

    Raises:
        InputError: the file has no sound, or the model cannot hear.
    """

    def on_progress(_done: int, _total: int) -> None:
        check()

    for clip in stream_clips(source, options):
        on_clip(clip.start_s, clip.end_s)
        session.clear()
        attachment = Attachment(source.name, "sound", (clip.to_part(source.name),))
        question = Question(instruction, (attachment,))
        reply = session.reply(question, on_progress, on_encode=lambda _label: on_progress)
        pieces = []
        for piece in reply:
            pieces.append(piece)
            check()
        text = "".join(pieces).strip()
        yield Segment(clip.start_s, clip.end_s, text, reply.stats.stop_reason == "end")
