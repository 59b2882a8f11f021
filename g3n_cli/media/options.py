"""What of a file is wanted."""

from __future__ import annotations

from dataclasses import dataclass

from g3n_cli.errors import UsageError


@dataclass(frozen=True)
class MediaOptions:
    """How files become parts.

    Attributes:
        image_size: Pictures are squashed to a square of so many pixels; None keeps their shape
            and only makes large ones smaller.
        sample_rate: Samples per second of sound.
        most_samples: Longest piece of sound; longer sound is split.
        fps: Frames per second of a video; fewer where they would be more than ``most_frames``.
        frames: So many frames of a video or an animation, evenly spread; None leaves it to
            ``fps``, and to the first frame of an animation.
        most_frames: Most frames that may be taken.
        start_s: Sound and video before this are left out.
        end_s: Sound and video after this are left out.
        has_sound: Take the sound of a video.
    """

    image_size: int | None = 768
    sample_rate: int = 16_000
    most_samples: int = 480_000
    fps: float = 1.0
    frames: int | None = None
    most_frames: int = 32
    start_s: float = 0.0
    end_s: float | None = None
    has_sound: bool = True

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        if not 0 < self.fps <= 1000:
            raise UsageError(f"--fps must be above 0 and at most 1000, not {self.fps:g}")
        if self.frames is not None and self.frames < 1:
            raise UsageError(f"--frames must be at least 1, not {self.frames}")
        if not 0 <= self.start_s < float("inf"):
            raise UsageError(f"--start must be 0 or more seconds, not {self.start_s:g}")
        if self.end_s is not None and not self.end_s > self.start_s:
            raise UsageError("--end must come after --start")
