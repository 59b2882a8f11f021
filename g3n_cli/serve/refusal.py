"""What is told to a client whose request is not answered."""

from __future__ import annotations

from typing import Any

from g3n_cli.errors import (
    DoesNotFitError,
    G3nError,
    InputError,
    ModelError,
    PromptTooLongError,
    UsageError,
)

Json = dict[str, Any]

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    501: "not_supported_error",
    503: "unavailable_error",
}


class RefusedError(Exception):
    """A request that is not answered.

    Args:
        status: Of HTTP.
        message: One line for a person.
        param: The field of the request that is wrong, or None.
        code: What a program can tell it by, or None.
        retry_s: After how many seconds to try again, or None.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        retry_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_s = retry_s

    @classmethod
    def of_error(cls, error: G3nError) -> RefusedError:
        """What an error of the engine means to a client."""
        message = error.message if error.hint is None else f"{error.message} ({error.hint})"
        if isinstance(error, PromptTooLongError):
            return cls(400, message, "messages", "context_length_exceeded")
        if isinstance(error, (InputError, UsageError, ModelError)):
            return cls(400, message)
        return cls(503 if isinstance(error, DoesNotFitError) else 500, message)

    @property
    def headers(self) -> dict[str, str]:
        """What goes beside the body."""
        headers = {} if self.retry_s is None else {"Retry-After": str(self.retry_s)}
        return {**headers, "WWW-Authenticate": "Bearer"} if self.status == 401 else headers

    def show(self) -> Json:
        """The body, as OpenAI's interface has it. Source: its reference, "Error object"."""
        kind = _KINDS.get(self.status, "server_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error}
