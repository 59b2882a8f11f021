"""Media among the cases of ``g3n bench``: what the flags about them say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from g3n_cli.bench.case import is_address
from g3n_cli.bench.media import (
    IMAGE_SIZES,
    NO_MEDIUM,
    Medium,
    check_image_sizes,
    parse_media,
)
from g3n_cli.bench.sweep_text import parse_numbers, parse_words
from g3n_cli.engine.encoders.open import Projector
from g3n_cli.errors import UsageError
from g3n_cli.registry.projector import find_projector

MEDIA_SETTINGS = ("mmproj", "image-size")
"""Settings of media that ``--ab`` compares."""


@dataclass(frozen=True)
class MediaRequest:
    """What the flags say; None where one was not given.

    Attributes:
        names: Of ``--media``.
        mmproj: The encoders' file.
        image_sizes: Pixels of a picture's side.
    """

    names: str | None
    mmproj: Path | None
    image_sizes: str | None

    def find(self, devices: Sequence[str]) -> list[Medium | None]:
        """What prompts begin with; None for text alone.

        Raises:
            UsageError: a value that makes no sense, or media for a server.
            InputError: a file that cannot be used.
        """
        if self.names is None:
            return [None]
        if any(map(is_address, devices)):
            hint = "leave it or the server out"
            raise UsageError("--media is for models on this machine, not for a server", hint)
        sizes = [IMAGE_SIZES[0]]
        if self.image_sizes is not None:
            sizes = parse_numbers(self.image_sizes, "--image-size")
            check_image_sizes(sizes)
        return parse_media(self.names, sizes)

    def check(self, devices: Sequence[str], *, lacks_encoders: bool) -> None:
        """Refuse what can be told before there is a model.

        Args:
            devices: Where it would run.
            lacks_encoders: A model is going to be made that cannot have encoders.

        Raises:
            UsageError: as ``find``.
            InputError: as ``find``, or there is no encoder for a medium.
            ModelError: the named file is no projector.
        """
        kinds = {kind for medium in self.find(devices) if medium for kind in medium.kinds}
        if self.mmproj is not None:
            Projector(find_projector(self.mmproj, self.mmproj), 1).check(*sorted(kinds))
        elif lacks_encoders:
            Projector(None, 1).check(*sorted(kinds))

    def wants_made_encoders(self) -> bool:
        """Whether a model that is made needs encoders too."""
        if self.names is None or self.mmproj is not None:
            return False
        return set(parse_words(self.names, "--media")) != {NO_MEDIUM}

    def find_encoders(self, model: Path, known: Path | None) -> Path | None:
        """The file of a model's encoders, if media are measured and there is one.

        Args:
            model: The model's file.
            known: Where the registry's projector for it would be.

        Raises:
            InputError: the named file is not there.
        """
        return None if self.names is None else find_projector(model, self.mmproj, known)

    def split(self, name: str, values: Sequence[str]) -> list[MediaRequest]:
        """A request for each value of ``--ab NAME``, one of ``MEDIA_SETTINGS``.

        Raises:
            UsageError: no media are measured, or the setting has a value already.
        """
        if self.names is None:
            raise UsageError(f"--ab {name} compares media", "add --media audio or --media image")
        if name == "mmproj":
            return [replace(self, mmproj=Path(value)) for value in values]
        if self.image_sizes is not None:
            raise UsageError(f"--{name} and --ab {name} contradict each other")
        if any(len(parse_numbers(value, f"--ab {name}")) > 1 for value in values):
            raise UsageError(f"--ab {name} compares two values, not ranges")
        return [replace(self, image_sizes=value) for value in values]
