import json

import pytest

from g3n_cli.bench.case import BenchModel, Case
from g3n_cli.bench.remote import check_server, find_remote_faults, measure_remote
from g3n_cli.bench.result import CaseResult
from g3n_cli.bench.sample import Sample
from g3n_cli.bench.tokens import Source
from g3n_cli.errors import ModelError, ServerError
from tests.fake_server import fail, say, serve

WORDS = Source("text", " ".join(f"Word{i} follows word{i}." for i in range(4000)))
PER_TOKEN = 5  # characters, of the server below
AROUND = 7  # tokens of its template


def count(messages):
    return AROUND + sum(len(each["content"]) for each in messages) // PER_TOKEN


def complete(n_prompt):
    """Answer at once, as a whole."""
    usage = {"usage": {"prompt_tokens": n_prompt}} if n_prompt else {}
    return fail(200, json.dumps({"choices": [{"message": {"content": "a"}}], **usage}).encode())


def counting(fake, *pieces, usage=None):
    """Behave as a server that counts prompts, of requests of both kinds."""

    def behave(handler, hold):
        request = fake.requests[-1]
        n = count(request["messages"])
        if request.get("stream"):
            say(*pieces, usage=usage and (n, *usage))(handler, hold)
        else:
            complete(n)(handler, hold)

    return behave


def measure(fake, n_prompt, n_gen, n_depth=0, source=WORDS, seed=0):
    phases = []
    case = Case(BenchModel("m", None), n_prompt, n_gen, n_depth, device=fake.url)
    return case, measure_remote(case, source, seed, phases.append), phases


def test_first_token_and_gaps_come_from_the_stream():
    with serve() as fake:
        fake.behaviours = [counting(fake, "a", "b", "c", usage=(3,))] * 2
        _, sample, phases = measure(fake, 300, 2)
    assert sample.ttft_s > 0
    assert len(sample.gaps_s) == 2
    assert (sample.output_tokens, phases) == (3, ["warming up", "measuring"])
    nothing = (sample.load_s, sample.prefill_s, sample.ledger, sample.peak_rss_bytes, sample.decode)
    assert nothing == (None,) * 5


@pytest.mark.parametrize(("n_prompt", "n_depth"), [(128, 0), (1000, 0), (64, 900)])
def test_prompts_are_as_long_as_the_server_counts_them(n_prompt, n_depth):
    with serve() as fake:
        fake.behaviours = [counting(fake, "a", usage=(1,))] * 4
        _, sample, _ = measure(fake, n_prompt, 0, n_depth)
    assert sample.prompt_tokens == pytest.approx(n_prompt + n_depth, rel=0.05)


def test_what_is_measured_is_asked_for_without_chance():
    with serve() as fake:
        fake.behaviours = [counting(fake, "a")] * 2
        measure(fake, 100, 9)
    before, measured = fake.requests
    assert (before["max_tokens"], measured["max_tokens"], measured["temperature"]) == (1, 10, 0)
    assert measured["stream"] is True


def test_no_prompt_begins_like_another_one():
    with serve() as fake:
        fake.behaviours = [counting(fake, "a")] * 8
        for seed in (0, 1):
            measure(fake, 100, 0, 100, seed=seed)
    beginnings = [request["messages"][0]["content"][:40] for request in fake.requests]
    assert len(set(beginnings)) == 6  # the depth's text stands before the prompt, once more


def test_depth_is_an_earlier_turn_of_the_same_conversation():
    with serve() as fake:
        fake.behaviours = [counting(fake, "a", "b")] * 4
        measure(fake, 50, 1, 200)
    before, measured = (request["messages"] for request in fake.requests[-2:])
    assert [message["role"] for message in measured] == ["user", "assistant", "user"]
    assert measured[0] == before[0]


def test_without_a_prompt_only_gaps_are_measured():
    with serve() as fake:
        fake.behaviours = [counting(fake, "a", "b", "c")]
        _, sample, _ = measure(fake, 0, 2)
    assert (sample.ttft_s, len(sample.gaps_s)) == (None, 2)


def test_tokens_are_counted_by_the_server_or_else_by_pieces():
    def speed(**more):
        sample = Sample(load_s=None, ttft_s=1.0, prefill_s=None, gaps_s=(0.5, 0.5), **more)
        case = Case(BenchModel("m", None), 8, 4, device="http://h/v1")
        return CaseResult.of(case, [sample], []).figures["decode_tps"]

    assert speed(output_tokens=5) == 4.0
    assert speed() == 2.0


def test_a_server_that_does_not_count_is_measured_and_warned_of():
    with serve() as fake:
        fake.behaviours = [complete(None), say("a", "b", "c")]
        case, sample, _ = measure(fake, 50, 2)
    assert sample.prompt_tokens is None
    (warning,) = find_remote_faults(case, [sample])
    assert "counts no tokens" in warning


def test_answers_that_are_not_what_was_asked_for_are_warned_of():
    case = Case(BenchModel("m", None), 100, 50, device="http://h/v1")
    sample = Sample(
        load_s=None,
        ttft_s=1.0,
        prefill_s=None,
        gaps_s=(0.1,) * 9,
        output_tokens=10,
        prompt_tokens=150,
        reused_tokens=90,
    )
    found = list(find_remote_faults(case, [sample]))
    parts = ("ended after 10 of 51 tokens", "150 tokens, not 100", "had 90 tokens")
    assert all(part in line for part, line in zip(parts, found, strict=True))


def test_what_all_prompts_begin_with_is_not_warned_of():
    case = Case(BenchModel("m", None), 100, 2, device="http://h/v1")
    sample = Sample(
        load_s=None,
        ttft_s=1.0,
        prefill_s=None,
        gaps_s=(0.1, 0.1),
        output_tokens=3,
        prompt_tokens=100,
        reused_tokens=30,
    )
    assert list(find_remote_faults(case, [sample])) == []


def test_what_is_measured_is_sent_once():
    with serve(complete(20), fail(429, Retry_After="1")) as fake:
        with pytest.raises(ServerError, match="429"):
            measure(fake, 20, 2)
        assert len(fake.requests) == 2


@pytest.mark.parametrize(
    ("behave", "kind", "words"),
    [
        (fail(404), ModelError, "404"),
        (fail(401), ServerError, "401"),
        (fail(200, b"no"), ServerError, "no answer"),
        (complete(None), None, ""),
    ],
)
def test_a_server_is_asked_once_before_anything_is_measured(behave, kind, words):
    with serve(behave) as fake:
        case = Case(BenchModel("m", None), 8, 4, device=fake.url)
        if kind is None:
            check_server(case, lambda _: None)
        else:
            with pytest.raises(kind, match=words):
                check_server(case, lambda _: None)
        assert fake.requests[0]["max_tokens"] == 1


def test_a_server_that_says_nothing_is_told():
    with serve(complete(20), say()) as fake, pytest.raises(ServerError, match="with nothing"):
        measure(fake, 20, 2)
