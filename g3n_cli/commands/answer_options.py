"""Options that say how answers are made and shown, each with an environment variable."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

AS_EVENTS = "events"
"""Key of a command's context: whether failures are events too."""

MaxTokensOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        "-n",
        metavar="N",
        envvar="G3N_MAX_TOKENS",
        show_default="until the model ends",
        help="Most tokens of an answer.",
    ),
]
SystemOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--system",
        "-s",
        metavar="TEXT",
        envvar="G3N_SYSTEM",
        show_default=False,
        help="What the model is told before the conversation, for example how to answer.",
    ),
]
TempOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--temp",
        metavar="T",
        envvar="G3N_TEMP",
        show_default="the model's, else 1.0",
        help="Temperature: higher is more varied, 0 always takes the likeliest token.",
    ),
]
TopKOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--top-k",
        metavar="K",
        envvar="G3N_TOP_K",
        show_default="the model's, else 64",
        help="Draw from the K likeliest tokens; 0 from all.",
    ),
]
TopPOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--top-p",
        metavar="P",
        envvar="G3N_TOP_P",
        show_default="the model's, else 0.95",
        help="Draw from the fewest tokens with this probability together; 1 is off.",
    ),
]
MinPOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--min-p",
        metavar="P",
        envvar="G3N_MIN_P",
        show_default="the model's, else 0.0",
        help="Leave out tokens below this share of the likeliest one's probability; 0 is off.",
    ),
]
RepeatPenaltyOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--repeat-penalty",
        metavar="R",
        envvar="G3N_REPEAT_PENALTY",
        show_default="the model's, else 1.0",
        help="Divide the odds of tokens among the last 64; 1 is off.",
    ),
]
SeedOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        envvar="G3N_SEED",
        show_default="random",
        help="Same seed, same answer; --json tells which one was used.",
    ),
]
StopOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--stop",
        metavar="TEXT",
        envvar="G3N_STOP",
        show_default=False,
        help="End the answer before this text; may be given several times.",
    ),
]
PrefixOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--prefix",
        metavar="TEXT",
        show_default=False,
        help="Let each answer begin with this text, best without a space at its end.",
    ),
]
NumOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--num",
        metavar="N",
        min=1,
        help="Give N answers, drawn with N seeds that follow each other. The last one is saved.",
    ),
]
ExtractOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--extract/--no-extract",
        "-x",
        help="Print only the first fenced block of the answer, or all of it if there is none.",
    ),
]
ExtractLastOption: TypeAlias = Annotated[
    bool, typer.Option("--extract-last", help="Print only the last one instead.")
]
JsonOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--json", envvar="G3N_JSON", help="Print one JSON object: text, timings, stop reason."
    ),
]


def _note_events(context: typer.Context, *, wanted: bool) -> bool:
    """Have failures told as events, whatever becomes of the command."""
    context.ensure_object(dict)[AS_EVENTS] = wanted
    return wanted


EventsOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--events",
        envvar="G3N_EVENTS",
        callback=_note_events,
        is_eager=True,  # so that what is wrong with other flags is an event too
        help="Print JSON lines for a program: stages, pieces of text, figures, errors.",
    ),
]
StatsOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--stats", envvar="G3N_STATS", help="After each answer, show its figures on stderr."
    ),
]
