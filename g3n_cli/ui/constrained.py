"""One answer that has to be something: a document, or one of several texts."""

from __future__ import annotations

import json
import re
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from g3n_cli.chat.constrain import constrain, read_figures
from g3n_cli.chat.conversation import Conversation, Question, Reply
from g3n_cli.errors import AnswerError
from g3n_cli.ui.answer import show_waiting_for
from g3n_cli.ui.figures import describe_answer
from g3n_cli.ui.oneshot import Form, note_stats, start
from g3n_cli.ui.progress import ProgressBar
from g3n_cli.ui.text import escape_json, make_visible

if TYPE_CHECKING:
    from g3n_cli.chat.schema.answer import AnswerSchema
    from g3n_cli.chat.session import Session
    from g3n_cli.engine.choice import Choices
    from g3n_cli.ui.terminal import Terminal


def answer_by_schema(
    conversation: Conversation,
    question: Question,
    terminal: Terminal,
    schema: AnswerSchema,
    form: Form,
    load_s: float | None,
) -> None:
    """Write one JSON document to stdout, once it is complete and checked.

    In the form of JSON it is the answer's figures, the document as ``value``: also of an answer
    that is refused, whose value is null.

    Raises:
        AnswerError: the answer was cut off, or does not satisfy the schema.
    """
    constrain(conversation, schema)
    reply = _read_answer(conversation, question, terminal)
    try:
        figures = read_figures(conversation, reply, schema)
    except AnswerError:
        if form.as_json:
            _write(terminal, {**describe_answer(conversation, reply, load_s), "value": None})
        raise
    if form.as_json:
        _write(terminal, {**describe_answer(conversation, reply, load_s), **figures})
    else:
        terminal.write(escape_json(join_document(reply.text)) + "\n")
        _note_stats(conversation, terminal, form)


def join_document(text: str) -> str:
    """A JSON document on one line."""
    # Servers may use lines; strings have none, so each is between two tokens.
    return re.sub(r"[\r\n\t]+ *", " ", text.strip())


def answer_by_choice(
    session: Session,
    question: Question,
    terminal: Terminal,
    choices: Choices,
    form: Form,
    load_s: float | None,
) -> int:
    """Write the choice to stdout, or in the form of JSON its figures; returns its index."""
    constrain(session, choices)
    reply = _read_answer(session, question, terminal)
    if form.as_json:
        figures = read_figures(session, reply, choices)
        _write(terminal, {**describe_answer(session, reply, load_s), **figures})
    else:
        terminal.write(make_visible(reply.text) + "\n")
        _note_stats(session, terminal, form)
    return choices.texts.index(reply.text)


def _note_stats(conversation: Conversation, terminal: Terminal, form: Form) -> None:
    if form.show_stats:
        note_stats(conversation, terminal)


def _read_answer(conversation: Conversation, question: Question, terminal: Terminal) -> Reply:
    """The answer as a whole; people are told who or what they wait for."""
    bar = ProgressBar(terminal)
    show_waiting_for(conversation, bar)
    reply = start(partial(conversation.reply, question), bar, terminal)
    with closing(iter(reply)) as pieces, bar:
        for _ in pieces:
            bar.wait(f"{len(reply.text):,} characters ...")
    return reply


def _write(terminal: Terminal, answer: dict[str, object]) -> None:
    terminal.write(escape_json(json.dumps(answer, ensure_ascii=False)) + "\n")
