"""The chat template inside a GGUF file: Jinja from a stranger, run in a sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from g3n_cli.errors import ModelError

# What expressions of a template may raise, beside Jinja's own errors.
FAILURES = (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, RecursionError)


class JinjaTemplate:
    """A model's chat template.

    Args:
        source: Jinja source.
        bos: Text of the token that begins a text.
        eos: Text of the token that ends one.

    Raises:
        ModelError: the source cannot be parsed, or fails on the simplest conversation.
    """

    def __init__(self, source: str, bos: str, eos: str) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        self._bos, self._eos = bos, eos
        try:
            self._template = environment.from_string(source)
        except FAILURES as error:
            raise ModelError(f"the model's chat template is broken: {error}") from error
        self._render_turns([{"role": "user", "content": "x"}])
        self._has_system_role = self._probe_system_role()

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """Text of a conversation, up to where the answer begins.

        A template without a system role gets the system text before the first message, with a
        blank line between.

        Raises:
            ModelError: the template fails.
        """
        turns = list(messages)
        if turns and turns[0]["role"] == "system" and not self._has_system_role:
            system = turns.pop(0)["content"].strip()
            if turns and system:
                turns[0] = {**turns[0], "content": f"{system}\n\n{turns[0]['content']}"}
        return self._render_turns(turns)

    def _render_turns(self, turns: Sequence[dict[str, str]]) -> str:
        try:
            return self._template.render(
                messages=turns, bos_token=self._bos, eos_token=self._eos, add_generation_prompt=True
            )
        except FAILURES as error:
            raise ModelError(f"the model's chat template fails: {error}") from error

    def _probe_system_role(self) -> bool:
        """Whether a system text reaches the prompt: some templates refuse it, some drop it."""
        probe = [{"role": "system", "content": "probe-s"}, {"role": "user", "content": "x"}]
        try:
            return "probe-s" in self._render_turns(probe)
        except ModelError:
            return False


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
