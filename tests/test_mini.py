"""The bundled model is what its card says: small, nested, and a dictionary that chats."""

import pytest

from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.session import Session
from g3n_cli.config import EngineSettings
from g3n_cli.engine.open import open_engine
from g3n_cli.registry.models import read_sizes, resolve

MOST_BYTES = 40_000_000
SIZES = ["full", "medium", "small"]
QUESTIONS = {
    "what does employee mean?": "worker",
    "What is the meaning of Ensure?": "make certain",
    "please explain what ceremony means": "formal",
    "define moon": "satellite",
    "can you tell me another word for instantly?": "immediately",
    "find me another word for recently": "late",
    "synonym for topic?": "subject",
    "what is a good synonym for prime?": "premier",
    "could you use section in a sentence?": "business",
    "show me how personal is used": "personal favor",
    "which sort of thing is employee?": "worker",
    "what type of thing is a thursday?": "weekday",
}


@pytest.fixture(scope="module")
def engine():
    spec = resolve("g3n-mini")
    settings = EngineSettings(n_ctx=1024, named_sizes=read_sizes())
    opened = open_engine(spec.path, spec.name, settings)
    yield opened
    opened.close()


def ask(session, question):
    reply = session.reply(question)
    text = "".join(reply)
    assert reply.stats.stop_reason == "end", text
    return text


def open_session(engine):
    return Session(engine, AnswerOptions(seed=1, temp=0, max_tokens=60))


def count_right(engine):
    return sum(
        wanted in ask(open_session(engine), question).lower()
        for question, wanted in QUESTIONS.items()
    )


def test_it_is_small_and_holds_three_sizes(engine):
    assert engine.info.path.stat().st_size <= MOST_BYTES
    assert [size.name for size in engine.sizes] == SIZES


def test_it_answers_three_of_four_questions_in_full_size(engine):
    engine.resize("full", recompute=True)
    assert count_right(engine) >= len(QUESTIONS) * 3 / 4


def test_a_small_size_knows_less_than_the_full_one(engine):
    right = {}
    for size in ("full", "small"):
        engine.resize(size, recompute=True)
        right[size] = count_right(engine)
    assert right["small"] < right["full"]


@pytest.mark.parametrize("size", SIZES)
def test_every_size_keeps_to_its_sentences(engine, size):
    engine.resize(size, recompute=True)
    beginnings = ("As a", "Another word", "For example", "The word", "To ", "I ")
    for question in QUESTIONS:
        answer = ask(open_session(engine), question)
        assert answer.startswith(beginnings), answer
        assert answer.endswith("."), answer


def test_it_greets_says_what_it_is_and_follows_up(engine):
    engine.resize("full", recompute=True)
    session = open_session(engine)
    assert ask(session, "Hello!").startswith("Hello!")
    assert "pocket dictionary" in ask(session, "Who are you?")
    assert "cannot" in ask(session, "Write a poem")
    assert "worker" in ask(session, "what does employee mean?")
    assert "worker" in ask(session, "what kind of thing is it?")


def test_a_size_changed_in_a_conversation_goes_on_with_it(engine):
    engine.resize("full", recompute=True)
    session = open_session(engine)
    ask(session, "what does moon mean?")
    engine.resize("medium")
    assert "moon" in ask(session, "what does it mean?")
    engine.resize("full")
    assert "satellite" in ask(session, "define moon")
