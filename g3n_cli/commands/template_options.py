"""``-t`` and ``-p``: templates of prompts for commands that ask a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from typer.core import TyperCommand

from g3n_cli.commands.complete import complete_template
from g3n_cli.errors import UsageError
from g3n_cli.registry.prompts import PromptTemplate, read_template

if TYPE_CHECKING:
    from g3n_cli.chat.schema.answer import AnswerSchema

TemplateOption: TypeAlias = Annotated[
    PromptTemplate | None,
    typer.Option(
        "--template",
        "-t",
        metavar="NAME",
        show_default=False,
        parser=read_template,
        autocompletion=complete_template,
        help="Ask as a template says: its name (see g3n templates list), or a path.",
    ),
]
ParamOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        metavar="NAME=VALUE",
        show_default=False,
        help="What a variable of the template stands for; may be given several times.",
    ),
]
AppendOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--append",
        metavar="TEXT",
        show_default=False,
        help="Ask this after the prompt and the input, with a blank line before it.",
    ),
]


class TemplateCommand(TyperCommand):
    """A command with ``-t`` and ``-p``.

    What a template says comes after flags of the command line, and before environment variables and
    the configuration file. The parameter ``template`` gets the template with its values.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  Typer's own kind
        """Read the command line, and what a template adds to it."""
        rest = super().parse_args(ctx, args)
        if ctx.resilient_parsing:
            return rest
        given = ctx.params["param"] or []
        template = ctx.params["template"]
        if template is None:
            if given:
                raise UsageError("--param is for templates", "name one with --template")
            return rest
        template = template.fill(read_pairs(given))
        ctx.params["template"] = template
        if system := template.make_system():
            _set(ctx, "system", system)
        for name, value in template.settings.items():
            _set(ctx, name, read_inline_schema(template) if name == "schema" else value)
        return rest


def read_inline_schema(template: PromptTemplate) -> AnswerSchema:
    """The schema that a template sets: JSON or the short form, never a file.

    Raises:
        UsageError: it is neither.
    """
    from g3n_cli.chat.schema.answer import AnswerSchema, names_file

    text = str(template.settings["schema"])
    if names_file(text):
        raise UsageError(
            f"template {template.name}: schema names a file", "a template holds the schema itself"
        )
    try:
        return AnswerSchema.parse(text)
    except UsageError as error:
        raise UsageError(f"template {template.name}: {error.message}", error.hint) from None


def read_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """Values of variables by name.

    Raises:
        UsageError: one is not of the form ``NAME=VALUE``.
    """
    values = {}
    for pair in pairs:
        name, is_pair, value = pair.partition("=")
        if not is_pair:
            raise UsageError(f"--param {pair}: a name, = and a value are needed")
        values[name] = value
    return values


def _set(ctx: Any, name: str, value: object) -> None:  # noqa: ANN401
    """Make a value that of a parameter, as if a configuration file had it."""
    source = ctx.get_parameter_source(name)
    if source.name != "COMMANDLINE":
        ctx.params[name] = value
        ctx.set_parameter_source(name, type(source).DEFAULT_MAP)
