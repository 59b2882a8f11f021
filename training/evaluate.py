"""What g3n-mini knows at each size, on wordings it was never trained on.

    python -m training.evaluate g3n_cli/models/g3n-mini.gguf --card g3n_cli/models/README.md

An answer is right if it holds what the dictionary says: for a meaning at least half of the
definition's words (articles, prepositions and the like apart), for a synonym or a kind that very
word, for an example at least half of the example's words.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.session import Session
from g3n_cli.config import EngineSettings
from g3n_cli.engine.api import Engine
from g3n_cli.engine.open import open_engine
from g3n_cli.engine.prompt import Prompt
from training.conversations import ASPECTS, Composer, Question
from training.recipe import N_HEAD_WORDS, SIZES, encode
from training.wordnet import read_entries

N_QUESTIONS, N_FOLLOW_UPS, N_LOSS = 300, 60, 200
MARKER = "<!-- everything below is written by `python -m training.evaluate` -->\n"
_MOST_TOKENS, _N_SAMPLES = 48, 4
_SEED = 2026
_SMALL_WORDS = frozenset(
    re.findall(
        "[a-z]+",
        "a an the of or and in on at to for with by from as is are be been being it its that which "
        "who whom this these those not no into one some any such used than so if",
    )
)


def is_right(question: Question, answer: str) -> bool:
    """Whether an answer holds what the dictionary says."""
    entry, said = question.entry, set(_words(answer))
    match question.aspect:
        case "synonym":
            return entry.synonym in said
        case "kind":
            return f" {entry.kind}." in f" {answer.lower()}"
        case "example":
            wanted = [word for word in _words(entry.example or "") if word != entry.word]
        case _:
            wanted = _words(entry.gloss)
    content = [word for word in wanted if word not in _SMALL_WORDS] or wanted
    return sum(word in said for word in content) * 2 >= len(content)


def repetition(answers: Iterable[str]) -> float:
    """Share of three-word runs that an answer has said before."""
    repeated = total = 0
    for answer in answers:
        words = answer.split()
        runs = Counter(zip(words, words[1:], words[2:], strict=False))
        total += sum(runs.values())
        repeated += sum(count - 1 for count in runs.values())
    return repeated / max(1, total)


@dataclass(frozen=True)
class Figures:
    """What one size can do.

    Attributes:
        right: Share of questions answered right.
        right_by_aspect: The same by what was asked.
        follow_ups: Share of second questions, which do not name the word, answered right.
        ended: Share of answers that the model ended by itself.
        repetition: Share of three-word runs that an answer has said before.
        loss: Mean negative log-likelihood per token of what it has to say, in nats.
        perplexity: Its exponential.
        samples: Some questions and answers.
    """

    right: float
    right_by_aspect: dict[str, float]
    follow_ups: float
    ended: float
    repetition: float
    loss: float
    perplexity: float
    samples: list[tuple[str, str]]


def measure(engine: Engine, composer: Composer, questions: Sequence[Question]) -> Figures:
    """Figures of the size that ``engine`` has."""
    answers, right, ended = [], Counter[str](), 0
    for question in questions:
        reply = _open_session(engine).reply(question.ask)
        answers.append("".join(reply))
        right[question.aspect] += is_right(question, answers[-1])
        ended += reply.stats.stop_reason == "end"
    follow_ups = [
        _is_follow_up_right(engine, question)
        for question in composer.unseen_questions(N_FOLLOW_UPS, follow_ups=True)
    ]
    loss = measure_loss(engine, composer)
    asked = Counter(question.aspect for question in questions)
    return Figures(
        right=sum(right.values()) / len(questions),
        right_by_aspect={aspect: right[aspect] / asked[aspect] for aspect in ASPECTS},
        follow_ups=sum(follow_ups) / len(follow_ups),
        ended=ended / len(questions),
        repetition=repetition(answers),
        loss=loss,
        perplexity=math.exp(loss),
        samples=[(q.ask, a) for q, a in zip(questions, answers, strict=True)][:_N_SAMPLES],
    )


def _is_follow_up_right(engine: Engine, question: Question) -> bool:
    """Ask for something else first, then what the question is after."""
    session = _open_session(engine)
    is_meaning = question.aspect == "meaning"
    opening = "use {} in a sentence" if is_meaning else "what does {} mean?"
    list(session.reply(opening.format(question.entry.word)))
    return is_right(question, "".join(session.reply(question.ask)))


def _open_session(engine: Engine) -> Session:
    return Session(engine, AnswerOptions(seed=1, temp=0, max_tokens=_MOST_TOKENS))


def measure_loss(engine: Engine, composer: Composer) -> float:
    """Mean negative log-likelihood per token of what the model has to say."""
    losses = []
    for turns in composer.unseen_conversations(N_LOSS):
        ids, is_said = encode(turns, _Encoder(engine))
        logits = engine.compute_all_logits(Prompt.of_ids(ids)).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        likelihoods = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        losses += [-likelihoods[i, ids[i + 1]] for i in range(len(ids) - 1) if is_said[i + 1]]
    return float(np.mean(losses))


class _Encoder:
    def __init__(self, engine: Engine) -> None:
        self._tokenizer = engine.tokenizer

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def render(results: Mapping[str, Figures]) -> str:
    """Tables of what all sizes can do, and some of their answers."""
    rows = {
        "questions answered right": lambda f: f"{f.right:.1%}",
        **{
            f"... {aspect}": lambda f, aspect=aspect: f"{f.right_by_aspect[aspect]:.0%}"
            for aspect in ASPECTS
        },
        "follow-ups answered right": lambda f: f"{f.follow_ups:.0%}",
        "answers that end by themselves": lambda f: f"{f.ended:.1%}",
        "repeated runs of three words": lambda f: f"{f.repetition:.1%}",
        "loss per token, nats": lambda f: f"{f.loss:.3f}",
        "perplexity": lambda f: f"{f.perplexity:.2f}",
    }
    lines = ["| | " + " | ".join(results) + " |", "| --- |" + " --: |" * len(results)]
    for title, show in rows.items():
        lines.append(f"| {title} | " + " | ".join(map(show, results.values())) + " |")
    for name, figures in results.items():
        lines += ["", f"{name}:", ""]
        lines += [f"- {ask} *{answer}*" for ask, answer in figures.samples]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure all sizes."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--card", type=Path, help="text whose end is written anew")
    parser.add_argument("--questions", type=int, default=N_QUESTIONS)
    options = parser.parse_args()
    entries = read_entries(options.wordnet)[:N_HEAD_WORDS]
    results = {}
    for name, widths in SIZES.items():
        size = ",".join(str(width or "-") for width in widths)
        # So small a model is not worth sharing between threads.
        settings = EngineSettings(n_ctx=1024, n_threads=1, size=size)
        engine = open_engine(options.model, "g3n-mini", settings)
        composer = Composer(entries, [], _SEED)
        results[name] = measure(engine, composer, composer.unseen_questions(options.questions))
        engine.close()
    sys.stdout.write(render(results))
    if options.card:
        by_hand, _, _ = options.card.read_text().partition(MARKER)
        options.card.write_text(by_hand + MARKER + "\n" + render(results))


if __name__ == "__main__":
    main()
