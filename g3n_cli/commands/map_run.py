"""Running ``g3n map``: who answers, where results go, and what happens in between."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from g3n_cli.commands.media_options import find_encoders
from g3n_cli.commands.remote import open_remote
from g3n_cli.config import AUTO, EngineSettings
from g3n_cli.errors import G3nError, UsageError

if TYPE_CHECKING:
    from g3n_cli.chat.constrain import Constraint
    from g3n_cli.chat.inputs import AskedInput, Form, Input
    from g3n_cli.chat.mapping import Mapper, Result
    from g3n_cli.chat.options import AnswerOptions, ServerOptions
    from g3n_cli.chat.result_file import ResultFile
    from g3n_cli.chat.schema.answer import AnswerSchema
    from g3n_cli.media.options import MediaOptions
    from g3n_cli.registry.models import ModelSpec
    from g3n_cli.ui.map_view import ResultFormat
    from g3n_cli.ui.terminal import Terminal


@dataclass(frozen=True)
class LocalModel:
    """A model that is opened in this process, and how it answers.

    Attributes:
        spec: The model.
        settings: How it is opened.
        options: How answers are made.
        system: What it is told before each input, or "".
        stop: Texts that end an answer.
        grammar: GBNF that answers follow, or None.
        mmproj: Its encoders, or None for those beside it.
        constraint: What each answer has to be, or None.
    """

    spec: ModelSpec
    settings: EngineSettings
    options: AnswerOptions
    system: str
    stop: Sequence[str]
    grammar: str | None
    mmproj: Path | None
    constraint: Constraint | None

    def describe(self) -> list[object]:
        """All that answers depend on, as JSON can hold it."""
        path, settings = self.spec.path, self.settings
        model = [path.name, path.stat().st_size, settings.size, settings.prefill_size]
        computed = [settings.n_ctx, settings.kv, settings.act]
        answers = [asdict(self.options), self.system, self.stop, self.grammar]
        return [model, computed, *answers, *describe_constraint(self.constraint)]

    @contextmanager
    def open(self, job: Job, terminal: Terminal) -> Iterator[Mapper]:
        """What answers, with the beginning that all prompts share."""
        from g3n_cli.chat.autosize import AutoSize
        from g3n_cli.chat.inputs import find_shared_kinds
        from g3n_cli.chat.mapping import Mapper, find_prefix
        from g3n_cli.chat.open import open_session
        from g3n_cli.chat.presence import present
        from g3n_cli.ui.progress import show_waiting

        kinds = find_shared_kinds(job.asked)  # if all have the same fault, it is the model's
        n_threads = self.settings.n_threads
        projector = find_encoders(self.spec, self.mmproj, n_threads, kinds, keeps_rows=True)
        opening = open_session(
            self.spec,
            self.settings,
            self.options,
            projector,
            system=self.system,
            stop=self.stop,
            grammar=self.grammar,
            keeps_encoder=True,
        )
        with ExitStack() as stack:
            with show_waiting(terminal, f"loading {self.spec.name} ..."):
                session = stack.enter_context(opening)
            stack.enter_context(present(session, "map"))
            if self.settings.size == AUTO and session.engine.sizes:
                terminal.note(AutoSize(session.engine, None).choose())
            prefix = find_prefix(session, job.form, job.asked[0])
            yield Mapper(session, job.form, job.media, prefix, self.constraint)


@dataclass(frozen=True)
class ServerModel:
    """A model on a server, and what it is asked for.

    Attributes:
        device: The server's address.
        model: Its name there, or None for the first one.
        options: How answers are made.
        system: What it is told before each input, or "".
        stop: Texts that end an answer.
        schema: What each answer has to satisfy, or None.
    """

    device: str
    model: str | None
    options: ServerOptions
    system: str
    stop: Sequence[str]
    schema: AnswerSchema | None

    def describe(self) -> list[object]:
        """All that answers depend on, as JSON can hold it."""
        answers = [asdict(self.options), self.system, self.stop]
        return [self.device, self.model, *answers, *describe_constraint(self.schema)]

    @contextmanager
    def open(self, job: Job, terminal: Terminal) -> Iterator[Mapper]:
        """What answers."""
        from g3n_cli.chat.mapping import Mapper

        remote = open_remote(
            self.device, self.model, self.options, self.system, self.stop, terminal
        )
        yield Mapper(remote, job.form, job.media, None, self.schema)


def describe_constraint(constraint: Constraint | None) -> list[object]:
    """What answers have to be, as JSON can hold it; nothing if all are welcome."""
    from g3n_cli.chat.schema.answer import AnswerSchema

    if constraint is None:
        return []
    if isinstance(constraint, AnswerSchema):
        return ["schema", json.dumps(constraint.value)]  # the order of keys is that of the answer
    return ["choice", asdict(constraint)]


@dataclass(frozen=True)
class Job:
    """What is asked, about what, and whom.

    Attributes:
        form: The prompt.
        inputs: In order, blank ones included.
        media: How files are read.
        model: Who answers.
    """

    form: Form
    inputs: tuple[Input, ...]
    media: MediaOptions
    model: LocalModel | ServerModel

    @cached_property
    def settings(self) -> list[object]:
        """All that answers depend on besides the input, as JSON can hold it."""
        return [self.form.text, *self.model.describe()]

    @cached_property
    def asked(self) -> list[AskedInput]:
        """Inputs that are no blank lines."""
        from g3n_cli.chat.inputs import BlankInput

        return [each for each in self.inputs if not isinstance(each, BlankInput)]

    def list_keys(self) -> Iterator[tuple[int, str]]:
        """Index and key of what has a result."""
        from g3n_cli.chat.inputs import make_key

        return ((each.index, make_key(self.settings, each)) for each in self.asked)


class Output:
    """Where results go, and how many there are.

    Args:
        terminal: Gets results if there is no file, and is told of errors.
        file: Gets results, or None.
        kind: How they are written.

    Attributes:
        n_done: Results so far, those of an earlier run included.
        n_errors: How many of them are errors.
    """

    def __init__(self, terminal: Terminal, file: ResultFile | None, kind: ResultFormat) -> None:
        self._terminal, self._kind = terminal, kind
        self._write = terminal.write if file is None else file.write
        self.n_done = self.n_errors = 0

    def write_blank(self) -> None:
        """Keep the lines of ``text`` beside those of the input."""
        if self._kind == "text":
            self._write("\n")

    def write(self, result: Result, key: str) -> None:
        """A result on a line of its own; an error is told too."""
        from g3n_cli.chat.mapping import Failed
        from g3n_cli.ui.map_view import format_result

        self._write(format_result(result, key, self._kind))
        self.n_done += 1
        if isinstance(result, Failed):
            self.n_errors += 1
            self._terminal.note(f"input {result.asked.index}: {result.error}")


def check_output(output: Path | None, kind: ResultFormat, *, resume: bool) -> None:
    """Refuse to go on with what is no file, or does not tell what it answers.

    Raises:
        UsageError: it is one.
    """
    if not resume:
        return
    if output is None:
        raise UsageError("--resume needs --output FILE")
    if kind != "jsonl":
        raise UsageError(f"--resume needs results as jsonl: {kind} does not name the inputs")


def run(
    job: Job, kind: ResultFormat, output: Path | None, terminal: Terminal, *, resume: bool
) -> None:
    """Answer all inputs that have no result yet.

    Raises:
        G3nError: some could not be answered.
        UsageError: the file holds something else.
    """
    from g3n_cli.chat.result_file import open_result_file

    if output is None:
        answer_all(job, Output(terminal, None, kind), terminal)
        return
    with open_result_file(output) as file:
        out = Output(terminal, file, kind)
        if resume:
            out.n_done, out.n_errors = file.resume(job.list_keys())
        elif not file.is_empty:
            raise UsageError(f"{output} is not empty", "--resume goes on with it")
        answer_all(job, out, terminal)


def answer_all(job: Job, out: Output, terminal: Terminal) -> None:
    """Write what is missing, tell what was done.

    Raises:
        G3nError: some inputs could not be answered.
    """
    from g3n_cli.ui.map_view import format_summary

    n_inputs = len(job.asked)
    mapper: Mapper | None = None
    try:
        if out.n_done < n_inputs:
            with job.model.open(job, terminal) as mapper:
                _answer(job, mapper, out, terminal)
        elif not n_inputs:
            for _ in job.inputs:
                out.write_blank()
    except BrokenPipeError:
        raise
    except BaseException:
        if mapper is not None:
            terminal.note(format_summary(out.n_done, n_inputs, out.n_errors, mapper))
        raise
    terminal.note(format_summary(out.n_done, n_inputs, out.n_errors, mapper))
    if out.n_errors:
        raise G3nError(f"{out.n_errors:,} of {n_inputs:,} inputs could not be answered")


def _answer(job: Job, mapper: Mapper, out: Output, terminal: Terminal) -> None:
    from g3n_cli.chat.inputs import BlankInput, make_key
    from g3n_cli.ui.map_view import MapProgress

    progress = MapProgress(terminal, len(job.asked), out.n_done)
    n_seen, n_before = 0, out.n_done
    try:
        for each in job.inputs:
            if isinstance(each, BlankInput):
                out.write_blank()
                continue
            n_seen += 1
            if n_seen <= n_before:
                continue
            progress.show(out.n_done)
            key = make_key(job.settings, each)
            result = mapper.answer(each)
            progress.clear()
            out.write(result, key)
    finally:
        progress.clear()
