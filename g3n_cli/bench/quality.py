"""What a setting costs in quality: a text read with two settings, their predictions compared.

The first part of the text is read as a prompt, the rest token by token, as answers are: so settings
of the prompt, of the K/V cache and of single steps all count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt

from g3n_cli.engine.api import Engine, Logits, Progress
from g3n_cli.engine.prompt import Prompt
from g3n_cli.errors import InputError

LogLikelihoods = npt.NDArray[np.float32]
"""[n_vocab] float32, logarithms of probabilities."""


@dataclass(frozen=True)
class Quality:
    """Predictions of a text beside those of the reference.

    Attributes:
        perplexity: Of the text.
        kl_divergence: Mean of the reference's divergence from these predictions, in nats.
        top1_agreement: Share of positions whose likeliest token is that of the reference.
    """

    perplexity: float
    kl_divergence: float
    top1_agreement: float


def measure(
    engine: Engine,
    text: str,
    n_context: int,
    n_measured: int,
    expected: list[LogLikelihoods],
    on_progress: Progress | None = None,
) -> Quality:
    """Read a text and compare its predictions with ``expected``, which is filled if it is empty.

    Args:
        engine: Opened with the settings to measure.
        text: At least ``n_context + n_measured`` tokens of it.
        n_context: Tokens read as a prompt.
        n_measured: Tokens after them that are predicted.
        expected: Predictions of the reference.
        on_progress: Called with tokens read and tokens in all.

    Raises:
        InputError: the text is too short, or the context too small, or the reference has another
            vocabulary.
    """
    ids = take_tokens(engine, text, n_context + n_measured)
    predictions = predict(engine, ids, n_context, on_progress)
    if not expected:
        expected += predictions
        predictions = iter(expected)
    elif len(expected[0]) != engine.info.n_vocab:
        raise InputError(
            f"{engine.info.name} has {engine.info.n_vocab:,} tokens, the reference"
            f" {len(expected[0]):,}",
            "only models with the same vocabulary can be compared",
        )
    return compare(expected, predictions, ids[n_context:])


def take_tokens(engine: Engine, text: str, wanted: int) -> list[int]:
    """The first tokens of a text.

    Raises:
        InputError: there are not so many, or the context cannot hold them.
    """
    ids = engine.tokenizer.encode(text, add_bos=True, parse_special=False)
    if len(ids) < wanted:
        raise InputError(
            f"the text has {len(ids):,} tokens, {wanted:,} are to be read",
            "give a longer --file, or lower --context and --measured",
        )
    if wanted > engine.n_ctx:
        raise InputError(f"{wanted:,} tokens do not fit a context of {engine.n_ctx:,}")
    return ids[:wanted]


def predict(
    engine: Engine,
    ids: Sequence[int],
    n_context: int,
    on_progress: Progress | None = None,
) -> Iterator[LogLikelihoods]:
    """Predictions of each token from ``n_context`` on."""
    n = len(ids)
    logits = engine.prefill(Prompt.of_ids(ids[:n_context]), on_progress)
    for at in range(n_context, n):
        yield _normalize(logits)
        if on_progress:
            on_progress(at, n)
        if at + 1 < n:
            logits = engine.decode(ids[at])


def compare(
    reference: Sequence[LogLikelihoods], found: Iterator[LogLikelihoods], wanted: Sequence[int]
) -> Quality:
    """Predictions beside the reference's, of the tokens ``wanted``."""
    losses, divergences, agreements = [], [], []
    for expected, log_likelihoods, token in zip(reference, found, wanted, strict=True):
        losses.append(-float(log_likelihoods[token]))
        divergences.append(float(np.sum(np.exp(expected) * (expected - log_likelihoods))))
        agreements.append(bool(expected.argmax() == log_likelihoods.argmax()))
    return Quality(
        perplexity=float(np.exp(np.mean(losses))),
        kl_divergence=max(0.0, float(np.mean(divergences))),
        top1_agreement=float(np.mean(agreements)),
    )


def load_sample() -> str:
    """A text to measure with."""
    return resources.files("g3n_cli.bench").joinpath("sample.txt").read_text("utf-8")


def _normalize(logits: Logits) -> LogLikelihoods:
    shifted = logits.astype(np.float64) - logits.max()
    result: LogLikelihoods = (shifted - np.log(np.exp(shifted).sum())).astype(np.float32)
    return result
