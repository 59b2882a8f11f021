"""Where a model's encoders are."""

from __future__ import annotations

from difflib import SequenceMatcher
from pathlib import Path

from g3n_cli.errors import InputError

PATTERN = "*mmproj*.gguf"


def find_projector(model: Path, given: Path | None, known: Path | None = None) -> Path | None:
    """The projector file of a model, or None if there is none.

    Of several that lie beside the model it is the one with the most similar name.

    Args:
        model: The model's file.
        given: What the person named.
        known: Where the registry's projector for the model would be.

    Raises:
        InputError: the named file is not there.
    """
    if given is not None:
        path = given.expanduser()
        if not path.is_file():
            raise InputError(f"there is no projector file {given}")
        return path
    if known is not None and known.is_file():
        return known
    beside = sorted({*model.parent.glob(PATTERN), *model.resolve().parent.glob(PATTERN)})
    beside = [path for path in beside if path.is_file() and path.name != model.name]
    return max(
        beside, key=lambda path: SequenceMatcher(None, path.name, model.name).ratio(), default=None
    )
