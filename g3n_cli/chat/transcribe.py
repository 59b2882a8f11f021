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


def make_instruction(language: str | None) -> str:
    """What the model is asked for.

    Args:
        language: What to translate into, or None to write down what is said.
    """
    if language is None:
        return "Transcribe this audio. Write only what is said."
    return f"Translate the speech in this audio into {language}. Write only the translation."


def transcribe(
    session: Session,
    source: Source,
    options: MediaOptions,
    instruction: str,
    on_clip: Callable[[float, float], None],
) -> Iterator[Segment]:
    """Segments of a file as they are done; each piece is a conversation of its own.

    Args:
        session: Cleared before each piece.
        source: The file.
        options: Which part of it.
        instruction: What the model is asked for.
        on_clip: Told start and end of each piece before it is worked on, in seconds.

    Raises:
        InputError: the file has no sound, or the model cannot hear.
    """
    for clip in stream_clips(source, options):
        on_clip(clip.start_s, clip.end_s)
        session.clear()
        attachment = Attachment(source.name, "sound", (clip.to_part(source.name),))
        reply = session.reply(Question(instruction, (attachment,)))
        text = "".join(reply).strip()
        yield Segment(clip.start_s, clip.end_s, text, reply.stats.stop_reason == "end")
