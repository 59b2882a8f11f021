"""The schema of an answer: reading it, and checking the answer in the end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from g3n_cli.chat.schema.convert import Converter, find
from g3n_cli.chat.schema.short import parse_short
from g3n_cli.errors import AnswerError, InputError, UsageError

MOST_BYTES = 1 << 20
MOST_DEPTH = 40
"""Of objects and lists in a schema; the library that checks goes down by recursion."""

_MOST_SHOWN = 160
_VALUES = ("const", "enum", "default", "examples")
_UNKNOWN = ("$dynamicRef", "$recursiveRef")


@dataclass(frozen=True)
class AnswerSchema:
    """What an answer has to satisfy.

    Attributes:
        value: The JSON Schema.
        grammar: GBNF of documents that satisfy it.
        unfollowed: Keywords that the grammar leaves to ``read``.
    """

    value: Any
    grammar: str
    unfollowed: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> AnswerSchema:
        """Read a schema: JSON, or the short form.

        Raises:
            UsageError: it is neither, or a schema that cannot be followed.
        """
        if len(text) > MOST_BYTES:
            raise UsageError(f"the schema is longer than {MOST_BYTES:,} characters")
        value = _parse_json(text) if text.lstrip().startswith("{") else parse_short(text)
        _check(value)
        converter = Converter(value)
        grammar = converter.convert()
        known = set(_make_validator(value).VALIDATORS)
        return cls(value, grammar, tuple(sorted(converter.unfollowed & known)))

    def read(self, text: str) -> Any:  # noqa: ANN401  any JSON
        """The document that an answer is.

        Raises:
            AnswerError: it is none, or one that does not satisfy the schema.
        """
        from jsonschema import exceptions

        try:
            document = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise AnswerError("the answer is not valid JSON") from None
        try:
            errors = list(_make_validator(self.value).iter_errors(document))
        except RecursionError:
            raise AnswerError("the answer, or its schema, is too deep to be checked") from None
        if errors:
            worst = exceptions.best_match(errors)
            why = worst.message if len(worst.message) <= _MOST_SHOWN else f"fails {worst.validator}"
            raise AnswerError(f"the answer does not satisfy the schema: {worst.json_path}: {why}")
        return document


def read_schema(text: str) -> AnswerSchema:
    """The schema that a person means: JSON, the short form, or the name of a file with either.

    Raises:
        UsageError: it is none, or one that cannot be followed.
        InputError: the file cannot be read.
    """
    path = Path(text)
    if not names_file(text) and (_is_json(text) or len(text) > 255 or not path.is_file()):
        return AnswerSchema.parse(text)
    try:
        return AnswerSchema.parse(path.read_text("utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text") from error


def names_file(text: str) -> bool:
    """Whether it can only be meant as the name of a file, there or not."""
    return not _is_json(text) and "\n" not in text and (Path(text).suffix == ".json" or "/" in text)


def _is_json(text: str) -> bool:
    return text.lstrip().startswith(("{", "["))


def _parse_json(text: str) -> Any:  # noqa: ANN401  any JSON
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise UsageError(f"the schema is not valid JSON: {error}") from None
    except RecursionError:
        raise UsageError(f"the schema is nested more than {MOST_DEPTH} deep") from None


def _check(schema: Any) -> None:  # noqa: ANN401  any JSON
    """Refuse what is no schema.

    Raises:
        UsageError: it is none.
    """
    from jsonschema.exceptions import SchemaError

    level = [schema]
    for depth in range(MOST_DEPTH + 1):
        level = [inner for value in level for inner in _list_inner(value)]
        if not level:
            break
        if depth == MOST_DEPTH:
            raise UsageError(f"the schema is nested more than {MOST_DEPTH} deep")
    try:
        _make_validator(schema).check_schema(schema)
    except SchemaError as error:
        message = error.message if len(error.message) <= _MOST_SHOWN else "it has a wrong value"
        raise UsageError(f"the schema is not valid at {error.json_path}: {message}") from None
    except RecursionError:
        raise UsageError("the schema has a pattern that is nested too deep") from None
    _check_refs(schema)


def _check_refs(schema: Any) -> None:  # noqa: ANN401  any JSON
    """Refuse references that are not to a place in the schema: they are never fetched."""
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for key, unknown in (("$id", value is not schema), *((key, True) for key in _UNKNOWN)):
                if unknown and isinstance(value.get(key), str):
                    raise UsageError(f"the schema has a {key}, which is not followed here")
            if isinstance(value.get("$ref"), str):
                find(schema, value["$ref"])
            value = {key: inner for key, inner in value.items() if key not in _VALUES}
        waiting += _list_inner(value)


def _list_inner(value: Any) -> list[Any]:  # noqa: ANN401  any JSON
    inner = value.values() if isinstance(value, dict) else value
    return (
        [v for v in inner if isinstance(v, dict | list)] if isinstance(value, dict | list) else []
    )


def _make_validator(schema: Any) -> Any:  # noqa: ANN401  the class depends on the schema
    from jsonschema import validators
    from referencing import Registry

    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    return kind(schema, registry=Registry())  # an empty one: nothing is fetched


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
