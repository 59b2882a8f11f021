"""``--schema`` and ``--choice``: answers that are a JSON document, or one of several texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from g3n_cli.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from g3n_cli.chat.constrain import Constraint
    from g3n_cli.chat.conversation import Conversation, Question
    from g3n_cli.chat.schema.answer import AnswerSchema
    from g3n_cli.ui.oneshot import Form
    from g3n_cli.ui.terminal import Terminal

SchemaOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--schema",
        metavar="FILE|TEXT",
        show_default=False,
        help="Answer with one JSON document that satisfies a JSON Schema: a file, JSON, or fields "
        "such as 'name, age int, tags [str], note str?'.",
    ),
]
ChoiceOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--choice",
        metavar="A,B",
        show_default=False,
        help="Answer with exactly one of these texts: the likeliest, or with --temp one drawn by "
        "probability. Given several times, each is one text, commas included.",
    ),
]
ChoiceExitOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--choice-exit", help="Exit with 0 for the first choice, with 10, 11, ... for the others."
    ),
]

FIRST_EXIT = 10
"""Exit code of the second choice, beyond those of failures; the first choice's is 0."""

MOST_EXITS = 100

_OTHERS = ("schema", "grammar", "stop", "prefix", "num", "extract", "extract_last")


@dataclass(frozen=True)
class Wanted:
    """What a single answer has to be.

    Attributes:
        constraint: It satisfies this schema, or is one of these texts.
        tells_exit: The exit code says which text.
    """

    constraint: Constraint
    tells_exit: bool

    def answer(
        self,
        conversation: Conversation,
        question: Question,
        terminal: Terminal,
        form: Form,
        load_s: float | None,
    ) -> int:
        """Answer a question and write the answer to stdout; returns the exit code.

        Raises:
            AnswerError: the answer is no document that satisfies the schema.
        """
        from g3n_cli.chat.schema.answer import AnswerSchema
        from g3n_cli.ui.constrained import answer_by_choice, answer_by_schema

        if isinstance(self.constraint, AnswerSchema):
            answer_by_schema(conversation, question, terminal, self.constraint, form, load_s)
            return ExitCode.OK
        from g3n_cli.chat.session import Session

        assert isinstance(conversation, Session)
        index = answer_by_choice(conversation, question, terminal, self.constraint, form, load_s)
        return FIRST_EXIT + index - 1 if self.tells_exit and index else ExitCode.OK


def read_wanted(context: typer.Context, *, is_open: bool) -> Wanted | None:
    """What flags of ``g3n chat`` say about the answer; None if all answers are welcome.

    Args:
        context: Of the command.
        is_open: A conversation is to be had, not a single answer.

    Raises:
        UsageError: the flags make no sense, alone or with others.
        InputError: the file of a schema cannot be read.
    """
    flags = context.params
    choices = read_choices(flags["choice"] or ())
    if flags["choice_exit"] and not choices:
        raise UsageError("--choice-exit wants --choice")
    if is_open and (choices or flags["schema"] is not None):
        given = "--choice" if choices else "--schema"
        raise UsageError(f"{given} is for single answers", "give a prompt, or pipe one in")
    if flags["choice_exit"] and len(choices) > MOST_EXITS:
        raise UsageError(f"--choice-exit tells at most {MOST_EXITS} choices apart")
    constraint = read_constraint(context, choices)
    return None if constraint is None else Wanted(constraint, flags["choice_exit"])


def read_constraint(context: typer.Context, choices: tuple[str, ...]) -> Constraint | None:
    """What ``--schema`` or ``--choice`` of a command say about answers; None if all are welcome.

    Args:
        context: Of the command.
        choices: What ``--choice`` means; none if it is not given.

    Raises:
        UsageError: the flags make no sense, alone or with others.
        InputError: the file of a schema cannot be read.
    """
    flags = context.params
    schema: str | AnswerSchema | None = flags["schema"]
    if schema is None and not choices:
        return None
    given = "--choice" if choices else "--schema"
    for name in _OTHERS:
        is_other = flags.get(name, 1) > 1 if name == "num" else bool(flags.get(name))
        if is_other and (choices or name != "schema"):
            other = name.replace("_", "-")
            raise UsageError(f"{given} and --{other} exclude each other", "give one of them")
    if schema is not None:
        from g3n_cli.chat.schema.answer import read_schema

        return read_schema(schema) if isinstance(schema, str) else schema
    from g3n_cli.engine.choice import Choices

    # Temperatures of the environment or a model are meant for prose: a choice is the likeliest.
    source = context.get_parameter_source("temp")
    is_given = source is not None and source.name == "COMMANDLINE"
    return Choices(choices, flags["temp"] if is_given else 0)


def read_choices(given: Sequence[str]) -> tuple[str, ...]:
    """The texts that are meant.

    Raises:
        UsageError: one is empty or there twice, or there is only one.
    """
    texts = given[0].split(",") if len(given) == 1 else given
    choices = tuple(text.strip() for text in texts)
    if not given:
        return ()
    if "" in choices:
        raise UsageError("--choice has an empty text")
    if len(set(choices)) < len(choices):
        raise UsageError("--choice has a text twice")
    if len(choices) == 1:
        raise UsageError("--choice wants at least two texts", "for example --choice yes,no")
    return choices
