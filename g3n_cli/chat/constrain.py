"""Answers that have to be a JSON document, or one of several texts: asking for one, reading it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, TypeAlias

from g3n_cli.chat.conversation import Conversation, Reply
from g3n_cli.chat.schema.answer import AnswerSchema
from g3n_cli.errors import AnswerError

if TYPE_CHECKING:  # a server needs no engine
    from g3n_cli.engine.choice import Choices

Constraint: TypeAlias = "AnswerSchema | Choices"


def constrain(conversation: Conversation, constraint: Constraint) -> None:
    """Have the next answers follow a schema, or be one of several texts.

    A draw among texts is made with the conversation's seed. A server is asked to follow a schema;
    it cannot be asked for a choice.
    """
    if conversation.engine is None:  # then nothing that comes with an engine is imported
        from g3n_cli.chat.remote import RemoteSession

        assert isinstance(conversation, RemoteSession)
        assert isinstance(constraint, AnswerSchema)
        json_schema = {"name": "answer", "schema": constraint.value}
        conversation.response_format = {"type": "json_schema", "json_schema": json_schema}
        return
    from g3n_cli.chat.session import Session

    assert isinstance(conversation, Session)
    if isinstance(constraint, AnswerSchema):
        conversation.grammar = constraint.grammar
    else:
        conversation.choices = replace(constraint, seed=conversation.options.seed)


def read_figures(
    conversation: Conversation, reply: Reply, constraint: Constraint
) -> dict[str, object]:
    """What a complete answer is, for JSON.

    Returns:
        ``value``, the document; or ``choices``, each with ``text``, ``logprob`` and
        ``probability``, in the order given.

    Raises:
        AnswerError: the answer was cut off, or does not satisfy the schema.
    """
    if isinstance(constraint, AnswerSchema):
        try:
            return {"value": constraint.read(reply.text)}
        except AnswerError as error:
            raise _explain(conversation, reply, error) from None
    from g3n_cli.chat.session import Session

    assert isinstance(conversation, Session)
    assert conversation.last_choice is not None
    return {"choices": [asdict(choice) for choice in conversation.last_choice.ranking]}


def _explain(conversation: Conversation, reply: Reply, error: AnswerError) -> AnswerError:
    """Why an answer is no document: where it was cut off, that is why."""
    stats = reply.stats
    if stats.stop_reason not in ("length", "context"):
        return error
    count = "" if stats.output_tokens is None else f" after {stats.output_tokens:,} tokens"
    hint = "-n allows a longer one"
    if stats.stop_reason == "context":
        hint = "maxLength in the schema ends texts that run on"
        if conversation.engine is not None:
            hint = f"--ctx has room for a longer one; {hint}"
    return AnswerError(f"the answer is cut off{count}: it is no whole JSON document", hint)
