"""A ``/command`` and what may come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from g3n_cli.media.parts import Attachment


@dataclass(frozen=True)
class Leave:
    """The chat ends."""


@dataclass(frozen=True)
class Regenerate:
    """The last message is answered again."""


@dataclass(frozen=True)
class Draft:
    """A text goes into the input line, and files go with it."""

    text: str
    attachments: tuple[Attachment, ...] = ()


Outcome: TypeAlias = Leave | Regenerate | Draft | None


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        arguments: What may follow its name, for the help.
        description: One line.
        run: Takes what follows the name.
        choices: What may follow, for completion.
        takes_path: A path may follow.
    """

    arguments: str
    description: str
    run: Callable[[str], Outcome]
    choices: tuple[str, ...] = ()
    takes_path: bool = False
