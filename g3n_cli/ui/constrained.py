"""One answer that has to be something: a document, or one of several texts."""

from __future__ import annotations

import json
import re
from contextlib import closing
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

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
    _constrain(conversation, schema)
    reply = _read_answer(conversation, question, terminal)
    try:
        value = schema.read(reply.text)
    except AnswerError as error:
        if form.as_json:
            _write(terminal, {**describe_answer(conversation, reply, load_s), "value": None})
        raise _explain(reply, error) from None
    if form.as_json:
        _write(terminal, {**describe_answer(conversation, reply, load_s), "value": value})
    else:
        # Servers may use lines; strings have none, so each is between two tokens.
        line = re.sub(r"[\r\n\t]+ *", " ", reply.text.strip())
        terminal.write(escape_json(line) + "\n")
        _note_stats(conversation, terminal, form)


def answer_by_choice(
    session: Session, question: Question, terminal: Terminal, form: Form, load_s: float | None
) -> int:
    """Write the choice to stdout, or in the form of JSON its figures; returns its index."""
    reply = _read_answer(session, question, terminal)
    assert session.last_choice is not None
    ranking = session.last_choice.ranking
    if form.as_json:
        choices = [asdict(choice) for choice in ranking]
        _write(terminal, {**describe_answer(session, reply, load_s), "choices": choices})
    else:
        terminal.write(make_visible(reply.text) + "\n")
        _note_stats(session, terminal, form)
    return [choice.text for choice in ranking].index(reply.text)


def _note_stats(conversation: Conversation, terminal: Terminal, form: Form) -> None:
    if form.show_stats:
        note_stats(conversation, terminal)


def _constrain(conversation: Conversation, schema: AnswerSchema) -> None:
    if conversation.engine is None:  # then nothing that comes with an engine is imported
        from g3n_cli.chat.remote import RemoteSession

        assert isinstance(conversation, RemoteSession)
        json_schema = {"name": "answer", "schema": schema.value}
        conversation.response_format = {"type": "json_schema", "json_schema": json_schema}
        return
    from g3n_cli.chat.session import Session

    assert isinstance(conversation, Session)
    conversation.grammar = schema.grammar


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


def _explain(reply: Reply, error: AnswerError) -> AnswerError:
    """Why an answer is no document: where it was cut off, that is why."""
    stats = reply.stats
    if stats.stop_reason not in ("length", "context"):
        return error
    count = "" if stats.output_tokens is None else f" after {stats.output_tokens:,} tokens"
    is_context = stats.stop_reason == "context"
    hint = "-n allows a longer one"
    if is_context:
        hint = "--ctx has room for a longer one; maxLength in the schema ends texts that run on"
    return AnswerError(f"the answer is cut off{count}: it is no whole JSON document", hint)
