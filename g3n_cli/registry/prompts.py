"""Templates of prompts: TOML files of a person's own, and those that come with g3n.

They are text with variables and a few settings, and nothing in them is executed. They have nothing
to do with a model's chat template, the turn markup of ``g3n_cli/chat/template.py``.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from g3n_cli.errors import UsageError
from g3n_cli.registry.reader import TableReader, read_toml

INPUT = "input"
"""The variable that stands for what is asked: what is piped in, the argument, or both."""

SUFFIX = ".toml"
KINDS: dict[str, type] = {
    "model": str,
    "size": str,
    "ctx": int,
    "temp": float,
    "top-k": int,
    "top-p": float,
    "min-p": float,
    "repeat-penalty": float,
    "max-tokens": int,
    "seed": int,
    "stop": list,
    "prefix": str,
    "extract": bool,
    "schema": str,
    "choice": list,
}
"""Flags of ``g3n chat`` that a template may set, with their types.

A schema is never the name of a file: what a stranger wrote does not choose what is read.
"""

_WHAT = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_VARIABLE = re.compile(r"\$(?:(\$)|(?:\{(\w+)\}|([a-zA-Z_]\w*)))", re.ASCII)
_NAME = re.compile(r"[a-zA-Z0-9_][\w-]*", re.ASCII)


@dataclass(frozen=True)
class PromptTemplate:
    """A prompt with variables: ``$name`` or ``${name}``, and ``$$`` for a dollar sign.

    Attributes:
        name: What to call it.
        path: Its file.
        is_bundled: Whether it came with g3n.
        description: One line.
        system: What the model is told before the conversation, or "".
        prompt: What is asked, or "" for the input alone.
        defaults: What variables stand for if nobody says.
        settings: Values of flags, by their parameters' names.
        values: What variables stand for.
    """

    name: str
    path: Path
    is_bundled: bool
    description: str = ""
    system: str = ""
    prompt: str = ""
    defaults: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of its variables in order of appearance, without the input."""
        found = find_variables(self.system) + find_variables(self.prompt)
        return tuple(name for name in dict.fromkeys(found) if name != INPUT)

    @property
    def takes_input(self) -> bool:
        """Whether its prompt says where the input goes."""
        return INPUT in find_variables(self.prompt)

    def fill(self, given: Mapping[str, str]) -> PromptTemplate:
        """A copy that knows what its variables stand for.

        Raises:
            UsageError: one is missing, or there is none of that name.
        """
        for name in given:
            if name not in self.variables:
                has = "it has " + (", ".join(self.variables) or "none")
                raise UsageError(f"template {self.name} has no variable {name!r}", has)
        values = {**self.defaults, **given}
        if missing := [name for name in self.variables if name not in values]:
            flags = " ".join(f"-p {name}=..." for name in missing)
            raise UsageError(f"template {self.name} needs a value of {', '.join(missing)}", flags)
        return replace(self, values=values)

    def make_system(self) -> str:
        """Its system text."""
        return substitute(self.system, self.values)

    def make_prompt(self, text: str) -> str:
        """What is asked about an input, which comes last unless the prompt has a place for it."""
        asked = substitute(self.prompt, {**self.values, INPUT: text})
        if not text:
            asked = asked.strip()  # without the blank lines around its place
        parts = [asked] if self.takes_input else [asked, text]
        return "\n\n".join(part for part in parts if part.strip())


def find_variables(text: str) -> list[str]:
    """Names of the variables in a text."""
    return [match[2] or match[3] for match in _VARIABLE.finditer(text) if not match[1]]


def substitute(text: str, values: Mapping[str, str]) -> str:
    """A text with its variables replaced, once: what a value holds stays as it is."""

    def give(match: re.Match[str]) -> str:
        return "$" if match[1] else values[match[2] or match[3]]

    return _VARIABLE.sub(give, text)


def find_prompt_folder() -> Path:
    """Where a person's own templates are: ``templates`` in their configuration folder."""
    import platformdirs

    return Path(platformdirs.user_config_dir("g3n")) / "templates"


def find_bundled_folder() -> Path:
    """Where those are that came with g3n."""
    return Path(__file__).parent.parent / "prompts"


def list_files() -> dict[str, Path]:
    """Files of all templates by name; a person's own comes before a bundled one."""
    folders = (find_bundled_folder(), find_prompt_folder())
    files = {
        path.stem: path
        for folder in folders
        for path in folder.glob("*" + SUFFIX)
        if _NAME.fullmatch(path.stem)
    }
    return dict(sorted(files.items()))


def find_file(wanted: str) -> Path:
    """The file of a template that is named, or whose path is given.

    Raises:
        UsageError: there is none.
    """
    if "/" in wanted or wanted.endswith(SUFFIX):
        return Path(os.path.expanduser(wanted))
    files = list_files()
    if wanted not in files:
        close = difflib.get_close_matches(wanted, files, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"no template {wanted!r}", f"{meant}there are {', '.join(files)}")
    return files[wanted]


def find_own_file(name: str) -> Path:
    """Where a person's own template of a name is, there or not.

    Raises:
        UsageError: it cannot be a name.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of a template", "letters, digits, - and _ make one")
    return find_prompt_folder() / (name + SUFFIX)


def read_template(wanted: str) -> PromptTemplate:
    """The template that is named, or whose path is given.

    Raises:
        UsageError: there is none, or it is not what it should be.
    """
    return parse_template(find_file(wanted))


def parse_template(path: Path) -> PromptTemplate:
    """Read one file.

    Raises:
        UsageError: names the file and the key.
    """
    reader = TableReader(path, "", read_toml(path))
    defaults = reader.inner("defaults")
    template = PromptTemplate(
        name=path.stem,
        path=path,
        is_bundled=path.parent == find_bundled_folder(),
        description=reader.text("description") or "",
        system=(reader.text("system") or "").strip(),
        prompt=(reader.text("prompt") or "").strip(),
        defaults={name: defaults.text(name) or "" for name in list(defaults.table)},
        settings=_read_settings(reader.inner("settings")),
    )
    reader.end()
    if not template.system and not template.prompt:
        raise reader.wrong("prompt", "is missing, and so is system")
    if INPUT in find_variables(template.system):
        raise reader.wrong("system", f"${INPUT} belongs in the prompt")
    for name in template.defaults:
        if name not in template.variables:
            raise defaults.wrong(name, "neither prompt nor system has a variable of this name")
    return template


def _read_settings(reader: TableReader) -> dict[str, object]:
    """Values of flags, which may be written with - or _."""
    settings: dict[str, object] = {}
    for key in list(reader.table):
        name = key.replace("_", "-")
        if name not in KINDS:
            raise reader.wrong(key, f"a template may set {', '.join(KINDS)}")
        settings[name.replace("-", "_")] = _read_value(reader, key, KINDS[name])
    return settings


def _read_value(reader: TableReader, key: str, kind: type) -> object:
    if kind is list:
        return list(reader.words(key))
    value = reader.text(key) if kind is str else reader.take(key, kind, _WHAT[kind])
    return float(value) if kind is float and value is not None else value
