"""``g3n serve --cache`` as a process: what is kept changes no answer, and is told."""

import json
from contextlib import contextmanager

import pytest

from tests.program import Program
from tests.serve.process import Served

QUESTIONS = (
    "What does harbor mean, and what do people do there? Please explain it to me in short words.",
    "What does copper mean, and what do people make of it? Please explain it to me in short words.",
)
FOLLOW_UPS = ("Say it in other words.", "What is it for?")


@contextmanager
def serving(folder, *flags):
    folder.mkdir()
    served = Served(Program(folder), *flags)
    try:
        yield served
    finally:
        served.end()


class Talk:
    """A conversation with a server: its answers, and how many tokens of each prompt were kept."""

    def __init__(self, served, question):
        self.served, self.answers, self.n_kept = served, [], []
        self._messages = []
        self._questions = [question, *FOLLOW_UPS]

    def go_on(self):
        self._messages.append({"role": "user", "content": self._questions.pop(0)})
        asked = {"messages": self._messages, "temperature": 0, "max_tokens": 40}
        status, content = self.served.ask("/v1/chat/completions", asked)
        assert status == 200, content
        told = json.loads(content)
        self.answers.append(told["choices"][0]["message"]["content"])
        self.n_kept.append(told["usage"]["prompt_tokens_details"]["cached_tokens"])
        self._messages.append({"role": "assistant", "content": self.answers[-1]})


def talk_in_turns(served):
    """What is said in two conversations, and tokens kept of all prompts but the first."""
    talks = [Talk(served, question) for question in QUESTIONS]
    for _ in range(3):
        for talk in talks:
            talk.go_on()
    return [talk.answers for talk in talks], [n for talk in talks for n in talk.n_kept[1:]]


def talk_alone(served, question):
    """What is said in a conversation that nobody interrupts."""
    talk = Talk(served, question)
    for _ in range(3):
        talk.go_on()
    return talk.answers


def tell(served):
    """What ``/props``, ``g3n ps --json`` and ``g3n ps`` say of a server."""
    props = json.loads(served.ask("/props")[1])
    (running,) = json.loads(served.g3n.run("ps", "--json").stdout)
    return props["cache"], running, served.g3n.run("ps").stdout.decode().splitlines()[1]


def test_conversations_in_turns_have_the_same_answers_with_and_without(tmp_path):
    with serving(tmp_path / "kept") as served:
        answers, n_kept = talk_in_turns(served)
        assert min(n_kept) > 30  # each goes on from its own last answer
        told, running, line = tell(served)
        assert told["limit_bytes"] == running["cache_limit_bytes"] == 512_000_000
        assert told["n_conversations"] == running["n_cached"] == 1  # the other is in the engine
        assert 0 < told["n_bytes"] == running["cache_bytes"] < 512_000_000
        assert " 1: " in line
        assert " of 512 MB " in line
    with serving(tmp_path / "none", "--cache", "0") as served:
        without, n_kept = talk_in_turns(served)
        assert without == answers
        assert max(n_kept) < 20  # what the two begin with
        told, running, line = tell(served)
        assert told == {"limit_bytes": 0, "n_bytes": 0, "n_conversations": 0}
        assert running["cache_limit_bytes"] == running["cache_bytes"] == running["n_cached"] == 0
        assert line.split()[-2] == "-"


@pytest.mark.parametrize(
    "flags", [("--kv", "q8_0"), ("--prefill-size", "medium"), ("--kv", "q8_0", "--size", "small")]
)
def test_conversations_in_turns_have_the_answers_of_each_alone(flags, tmp_path):
    with serving(tmp_path / "turns", *flags) as served:
        answers, n_kept = talk_in_turns(served)
        assert min(n_kept) > 30
    with serving(tmp_path / "alone", "--cache", "0", *flags) as served:
        assert [talk_alone(served, question) for question in QUESTIONS] == answers


def test_the_memory_for_it_is_a_limit(tmp_path):
    with serving(tmp_path / "little", "--cache", "1") as served:
        for n in range(8):
            served.ask("/v1/completions", {"prompt": f"{n} " + "harbor " * 100, "max_tokens": 1})
        told, *_ = tell(served)
    assert told["limit_bytes"] == 1_000_000
    assert 0 < told["n_bytes"] <= told["limit_bytes"]
    assert 0 < told["n_conversations"] < 7
