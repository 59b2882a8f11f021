"""Numbers of a checkpoint's configuration, checked as they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g3n_cli.convert.safetensors import read_json
from g3n_cli.errors import ModelError

_KNOWN = ("Gemma3nForConditionalGeneration", "Gemma3nForCausalLM")


@dataclass(frozen=True)
class Section:
    """One object of ``config.json``; keys it lacks have the value transformers gives them.

    Attributes:
        path: Of the file, for messages.
        values: As read.
    """

    path: Path
    values: dict[str, Any]

    def count(self, key: str, default: int, most: int = (1 << 31) - 1) -> int:
        """A number of things, at most ``most``.

        Raises:
            ModelError: it is something else.
        """
        value = self.values.get(key, default)
        if type(value) is not int or not 0 <= value <= most:
            raise self.wrong(key, f"a count of at most {most}")
        return value

    def number(self, key: str, default: float) -> float:
        """A number.

        Raises:
            ModelError: it is something else.
        """
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e30:
            raise self.wrong(key, "a number from 0 to 1e30")
        return float(value)

    def items(self, key: str, default: list[Any], kinds: type | tuple[type, ...]) -> list[Any]:
        """A list whose elements are of some types.

        Raises:
            ModelError: it is something else.
        """
        value = self.values.get(key, default)
        if not isinstance(value, list) or not all(isinstance(item, kinds) for item in value):
            raise self.wrong(key, "a list of such values")
        return value

    def section(self, key: str) -> Section:
        """An object within; empty if it is not there.

        Raises:
            ModelError: it is something else.
        """
        value = self.values.get(key) or {}
        if not isinstance(value, dict):
            raise self.wrong(key, "an object")
        return Section(self.path, value)

    def wrong(self, key: str, wanted: str) -> ModelError:
        """What to raise about a value."""
        return ModelError(f"{self.path}: {key} is not {wanted}")


def open_config(folder: Path) -> Section:
    """The configuration of a Gemma 3n.

    Raises:
        ModelError: it cannot be read, or is another model's.
    """
    config = Section(folder / "config.json", read_json(folder / "config.json"))
    names = config.values.get("architectures")
    if not isinstance(names, list) or not set(names) & set(_KNOWN):
        shown = ", ".join(map(str, names)) if isinstance(names, list) else "nothing"
        raise ModelError(
            f"{config.path}: the architecture is {shown}, not Gemma 3n",
            "llama.cpp's convert_hf_to_gguf.py converts other models",
        )
    return config


def read_text_section(config: Section) -> Section:
    """The text model's numbers, which a text-only checkpoint has at the top."""
    return config.section("text_config") if "text_config" in config.values else config


def describe(folder: Path) -> dict[str, str]:
    """``general.name`` and ``general.license`` of a folder.

    A snapshot in the cache of Hugging Face's programs is named by the model it belongs to.
    """
    folder = folder.resolve()
    store = next((p for p in folder.parents if p.name.startswith("models--")), None)
    name = store.name.split("--")[-1] if store else folder.name
    described = {"general.name": name.encode("utf-8", "replace").decode()}
    try:
        lines = (folder / "README.md").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return described
    if lines and lines[0] == "---":
        for line in lines[1:]:
            if line == "---":
                break
            if line.startswith("license:"):
                described["general.license"] = line.partition(":")[2].strip()
    return described
