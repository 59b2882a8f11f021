"""Cases that a server runs: what its stream of an answer tells, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from g3n_cli.bench.case import Case
from g3n_cli.bench.metrics import median
from g3n_cli.bench.sample import Sample
from g3n_cli.bench.tokens import Source
from g3n_cli.engine.server import Patience, Server, ServerAddress, read_key
from g3n_cli.engine.server_generation import ServerGeneration
from g3n_cli.errors import ServerError

MOST_OFF = 0.05
"""Prompts whose lengths differ by more are warned of."""

_SHARED = 32
"""Tokens with which a server's prompts may all begin: its template's, and a text of the system."""

_CHARACTERS = 4.0
"""Of a token, before the server has counted any."""

_OTHER = 1_000_000
"""Added to a seed: text that no repetition measures."""

_ASK = "\n\nGo on with this text, and do not come to an end."
_AFTER_DEPTH = "I have read it."
_NO_RETRY = Patience(pauses_s=())
_RUNNING = Patience(awaits_start=False)

OnPhase = Callable[[str], None]
Message = dict[str, str]


def check_server(case: Case, on_retry: Callable[[str], None]) -> None:
    """Ask for one token, so that what cannot be measured is told before anything is.

    Raises:
        UsageError: the address or the key cannot be used.
        ServerError: the server cannot be reached, or refuses.
        ModelError: it has no such model.
    """
    server = open_server(case.device, on_retry)
    _count_tokens(server, case, [_say("Hello")])


def open_server(
    device: str, on_retry: Callable[[str], None], patience: Patience = _RUNNING
) -> Server:
    """The server at an address; its key comes from the environment.

    Args:
        device: Its address.
        on_retry: Told, in one line, when a request is sent again.
        patience: How long to wait; by default not for a server that is not there.

    Raises:
        UsageError: the address or the key cannot be used.
    """
    return Server(ServerAddress.parse(device), read_key(), on_retry, patience)


def measure_remote(case: Case, source: Source, seed: int, on_phase: OnPhase) -> Sample:
    """Ask for an answer and note when its pieces arrive.

    A request before makes the server ready, and tells how long a text of so many tokens is. What
    is measured is sent once: waiting for a busy server would be part of the figures.

    Args:
        case: What to measure.
        source: Of the text.
        seed: Of the text; the number of the repetition.
        on_phase: Told what begins.

    Raises:
        ServerError: the server cannot be reached, refuses, or breaks off.
    """
    server = open_server(case.device, on_phase)
    on_phase("warming up")
    text = _fit_text(server, case, source, case.n_prompt, seed)
    messages: list[Message] = []
    if case.n_depth:
        on_phase("reading what is there before")
        before = _fit_text(server, case, source, case.n_depth, seed + 2 * _OTHER)
        messages.append(_say(before))
        _count_tokens(server, case, messages)
        messages.append({"role": "assistant", "content": _AFTER_DEPTH})
    messages.append(_say(text + _ASK))
    on_phase("measuring")
    request = {**_make_request(case, messages), "max_tokens": case.n_gen + 1}
    measured = open_server(case.device, on_phase, _NO_RETRY)
    generation = ServerGeneration(measured, request)
    for _ in generation:
        pass
    stats = generation.stats
    if stats.ttft_s is None:
        raise ServerError(f"{measured.address} answers with nothing", "has it another model?")
    return Sample(
        load_s=None,
        ttft_s=stats.ttft_s if case.n_prompt else None,
        prefill_s=None,
        gaps_s=stats.gaps_s if case.n_gen else (),
        prompt_tokens=stats.prompt_tokens,
        reused_tokens=stats.reused_tokens,
        output_tokens=stats.output_tokens,
    )


def find_remote_faults(case: Case, samples: Sequence[Sample]) -> Iterator[str]:
    """Warnings about answers that were not what was asked for, each with what to do."""
    told = [each.output_tokens or len(each.gaps_s) + 1 for each in samples]
    if case.n_gen and (found := min(told)) < case.n_gen * (1 - MOST_OFF):
        yield f"an answer ended after {found:,} of {case.n_gen + 1:,} tokens: lower -n"
    if all(each.output_tokens is None for each in samples):
        yield "the server counts no tokens, a piece of text is taken for one"
    wanted = case.n_prompt + case.n_depth
    lengths = [each.prompt_tokens for each in samples if each.prompt_tokens is not None]
    found_length = median(lengths)
    if case.n_prompt and found_length and abs(found_length / wanted - 1) > MOST_OFF:
        yield f"prompts have {found_length:,.0f} tokens, not {wanted:,}"
    reused = median([each.reused_tokens for each in samples if each.reused_tokens is not None])
    most_reused = case.n_depth + _SHARED + MOST_OFF * case.n_prompt
    if reused and case.n_prompt and reused > most_reused:
        yield f"the server had {reused:,.0f} tokens of the prompt already: restart it"


def _fit_text(server: Server, case: Case, source: Source, n: int, seed: int) -> str:
    """Text of about ``n`` tokens of the prompt, as far as the server counts."""
    if n == 0:
        return ""
    probe = source.make_text(round(n * _CHARACTERS), seed + _OTHER)
    counted = _count_tokens(server, case, [_say(probe + _ASK)])
    length = len(probe)
    if counted:  # what stands around the text is the same in both
        length += round((n - counted) * len(probe + _ASK) / counted)
    return source.make_text(length, seed)


def _count_tokens(server: Server, case: Case, messages: Sequence[Message]) -> int | None:
    """Tokens of a prompt, by an answer of one token; None if the server does not count.

    Raises:
        ServerError: it fails.
    """
    answer = server.ask_chat({**_make_request(case, messages), "max_tokens": 1})
    match answer:
        case {"usage": {"prompt_tokens": int(n)}}:
            return n
        case {"choices": [*_]}:
            return None
    raise ServerError(f"{server.address} sends something that is no answer")


def _make_request(case: Case, messages: Sequence[Message]) -> dict[str, Any]:
    return {"model": case.model.name, "messages": list(messages), "temperature": 0}


def _say(text: str) -> Message:
    return {"role": "user", "content": text.strip()}
