"""Asking the Hugging Face Hub about one file, through huggingface_hub, and what its refusals mean.

Endpoint, token, proxies and offline mode are huggingface_hub's: ``HF_ENDPOINT``, ``HF_TOKEN`` or
the token that ``hf auth login`` keeps, ``HTTPS_PROXY`` and ``NO_PROXY``, ``HF_HUB_OFFLINE``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from g3n_cli.errors import G3nError, ModelError, ServerError
from g3n_cli.registry.table import HubFile

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_WAIT_S = 60.0
_ASK_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Patience:
    """How long a server is borne with.

    Attributes:
        n_attempts: Requests in a row that bring nothing.
        silence_s: Seconds without a byte that end a request.
        pause: Waits for some seconds.
    """

    n_attempts: int = 6
    silence_s: float = 30.0
    pause: Callable[[float], None] = time.sleep


class Hiccup(Exception):  # noqa: N818  an outcome that asks for another try
    """A failure that may pass by itself.

    Args:
        reason: What to tell if it does not.
        wait_s: What the server asked for, or None.
    """

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.wait_s = reason, wait_s


@dataclass(frozen=True)
class Remote:
    """A file as the server describes it.

    Attributes:
        file: What was asked for.
        url: Where its bytes are asked for; may redirect.
        revision: The commit, else what was asked for.
        n_bytes: Its size, or None if the server does not tell.
        sha256: Its digest, known beforehand or from the server; None if neither tells.
    """

    file: HubFile
    url: str
    revision: str
    n_bytes: int | None
    sha256: str | None


def has_token() -> bool:
    """Whether the person has a token for the Hub."""
    from huggingface_hub import get_token

    return get_token() is not None


def find_remote(file: HubFile, patience: Patience | None = None) -> Remote:
    """Ask what the server has.

    Raises:
        ModelError: there is no such file, or it is not for this person.
        ServerError: the server cannot be reached, or refuses.
        G3nError: it has another file than the one that is known.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    patience = patience or Patience()
    url = hf_hub_url(file.repo, file.file, revision=file.revision)
    found = insist(
        lambda: translate(file, lambda: get_hf_file_metadata(url, timeout=_ASK_TIMEOUT_S)), patience
    )
    told = found.etag if found.etag and _SHA256.fullmatch(found.etag) else None
    if file.sha256 and told and told != file.sha256:
        raise G3nError(
            f"{file.ref} is not the file that g3n knows: its sha256 begins {told[:12]}, not "
            f"{file.sha256[:12]}",
            f"to fetch it as it is now: g3n pull {file.ref}",
        )
    revision = found.commit_hash or file.revision
    return Remote(
        file=file,
        url=hf_hub_url(file.repo, file.file, revision=revision),
        revision=revision,
        n_bytes=found.size,
        sha256=file.sha256 or told,
    )


def insist(request: Callable[[], T], patience: Patience) -> T:
    """Repeat a request as long as it only has hiccups and there is patience left.

    Raises:
        ServerError: it never succeeded.
    """
    for attempt in range(patience.n_attempts):
        try:
            return request()
        except Hiccup as hiccup:
            if attempt + 1 == patience.n_attempts:
                raise give_up(hiccup) from hiccup
            wait(hiccup, attempt, patience)
    raise AssertionError("no attempts")


def wait(hiccup: Hiccup, attempt: int, patience: Patience) -> None:
    """Wait as long as the server asked for, else longer with each attempt."""
    seconds = 2.0**attempt if hiccup.wait_s is None else hiccup.wait_s
    patience.pause(min(seconds, _MOST_WAIT_S))


def give_up(hiccup: Hiccup) -> ServerError:
    """What is told when patience is at its end."""
    return ServerError(hiccup.reason, "try again later; what is there already is kept")


def translate(file: HubFile, request: Callable[[], T]) -> T:
    """Run a request; its failures become ours.

    Raises:
        Hiccup: it may be tried again.
        ModelError: there is no such file, or it is not for this person.
        ServerError: anything else the server says.
        G3nError: connections are forbidden.
    """
    import httpx2
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled

    try:
        return request()
    except OfflineModeIsEnabled:
        raise G3nError(
            "nothing is fetched while HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE to fetch"
        ) from None
    except GatedRepoError as error:
        raise refuse_gated(file.repo) from error
    except HfHubHTTPError as error:
        raise _explain(file, error.response, error) from error
    except httpx2.TransportError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Hiccup(f"cannot fetch {file.ref}: {reason}") from error
    except httpx2.HTTPError as error:  # endless redirects, for example
        raise ServerError(f"cannot fetch {file.ref}: {error}") from error


def refuse_gated(repo: str) -> ModelError:
    """What to do about a repository that wants its licence accepted, in two lines."""
    return ModelError(
        f"{repo} is gated: its licence has to be accepted once, and g3n needs your token",
        f"accept it at {_endpoint()}/{repo}, then: hf auth login (or set HF_TOKEN)",
    )


def _explain(file: HubFile, response: httpx2.Response, error: Exception) -> Exception:
    """The failure that a status stands for."""
    status = response.status_code
    if status in _BUSY:
        return Hiccup(f"cannot fetch {file.ref}: the server answers {status}", _read_wait(response))
    if status == 401:
        return ModelError(
            f"{file.repo} does not exist, or is not for you (401)",
            "check its name; if it is private or gated: hf auth login, or set HF_TOKEN",
        )
    if status == 403:
        return ModelError(
            f"{file.repo} is not for you (403)",
            f"accept its licence at {_endpoint()}/{file.repo}; a fine-grained token must be "
            "allowed to read gated repositories",
        )
    if status == 404:
        return _explain_missing(file, error)
    return ServerError(f"cannot fetch {file.ref}: the server answers {status}")


def _explain_missing(file: HubFile, error: Exception) -> ModelError:
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, RepositoryNotFoundError):
        return ModelError(f"there is no repository {file.repo}")
    if isinstance(error, RevisionNotFoundError):
        return ModelError(f"{file.repo} has no revision {file.revision}")
    return ModelError(
        f"{file.repo} has no file {file.file}", f"its files: {_endpoint()}/{file.repo}/tree/main"
    )


def _read_wait(response: httpx2.Response) -> float | None:
    """Seconds of a Retry-After header; dates are rare and ignored."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else None


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT
