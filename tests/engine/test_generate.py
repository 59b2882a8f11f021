import pytest

from g3n_cli.engine.generate import Generation
from g3n_cli.engine.prompt import Prompt
from g3n_cli.engine.sampler import Sampler
from g3n_cli.engine.sampling import Greedy
from g3n_cli.errors import Terminated
from tests.engine.scripted import BOS, CONTROL, FakeEngine

PROMPT = Prompt.of_ids([BOS, *b"question"])


def generate(engine, prompt=PROMPT, **options):
    return Generation(engine, prompt, Sampler(Greedy()), **options)


def test_answer_ends_at_the_end_token():
    generation = generate(FakeEngine("hello"))
    assert "".join(generation) == "hello"
    assert generation.text == "hello"
    assert generation.ids == list(b"hello")
    assert generation.stats.stop_reason == "end"
    assert generation.stats.output_tokens == 5


def test_nothing_is_computed_before_the_first_piece_is_asked_for():
    engine = FakeEngine("hello")
    generation = generate(engine)
    assert engine.prompts == []
    assert next(generation) == "h"
    assert engine.decoded == []


def test_max_tokens_ends_the_answer_and_its_last_token_is_not_decoded():
    engine = FakeEngine("hello")
    generation = generate(engine, max_tokens=3)
    assert list(generation) == ["h", "e", "l"]
    assert generation.stats.stop_reason == "length"
    assert engine.decoded == list(b"he")


def test_answer_of_exactly_max_tokens_ends_by_length():
    generation = generate(FakeEngine("hey"), max_tokens=3)
    assert "".join(generation) == "hey"
    assert generation.stats.stop_reason == "length"


def test_empty_answer_has_no_pieces():
    generation = generate(FakeEngine(""))
    assert list(generation) == []
    assert generation.stats.output_tokens == 0
    assert generation.stats.stop_reason == "end"


def test_full_context_ends_the_answer():
    engine = FakeEngine("0123456789", n_ctx=len(PROMPT) + 4)
    generation = generate(engine)
    # The last of them is chosen from the logits of the context's last position.
    assert "".join(generation) == "01234"
    assert generation.stats.stop_reason == "context"
    assert engine.n_past == engine.n_ctx


def test_characters_are_held_back_until_they_are_complete():
    generation = generate(FakeEngine("aé€😀z"))
    assert list(generation) == ["a", "é", "€", "😀", "z"]


def test_character_cut_off_at_the_end_becomes_a_replacement_character():
    generation = generate(FakeEngine("a😀"), max_tokens=3)
    assert list(generation) == ["a", "\ufffd"]


def test_bytes_that_are_no_text_become_replacement_characters():
    assert "".join(generate(FakeEngine(b"a\xffb\xc3"))) == "a\ufffdb\ufffd"


def test_control_tokens_count_but_are_not_text():
    generation = generate(FakeEngine([ord("a"), CONTROL, ord("b")]))
    assert list(generation) == ["a", "b"]
    assert generation.stats.output_tokens == 3


@pytest.mark.parametrize(
    ("answer", "stop", "text"),
    [
        ("one. two.", ["."], "one"),
        ("one END two", ["END"], "one "),
        ("one ENE two", ["END"], "one ENE two"),
        ("one EN", ["END"], "one EN"),
        ("aaab", ["aab"], "a"),
        ("abcd", ["bcd", "c"], "ab"),
        ("x", ["x"], ""),
        ("a€b", ["€"], "a"),
        ("EENDx", ["END"], "E"),
        ("text", [], "text"),
    ],
)
def test_answer_ends_before_a_stop_text(answer, stop, text):
    generation = generate(FakeEngine(answer), stop=stop)
    assert "".join(generation) == text
    assert generation.stats.stop_reason == ("stop" if text != answer else "end")


def test_what_may_begin_a_stop_text_is_held_back():
    generation = generate(FakeEngine("ab<enc"), stop=["<end>"])
    assert list(generation) == ["a", "b", "<enc"]


def test_nothing_is_decoded_after_a_stop_text():
    engine = FakeEngine("a. b")
    list(generate(engine, stop=["."]))
    assert engine.decoded == [ord("a")]


@pytest.mark.parametrize("error", [KeyboardInterrupt, Terminated])
def test_interrupt_is_raised_and_leaves_what_was_said(error):
    generation = generate(FakeEngine("hello", errors={2: error()}))
    with pytest.raises(error):
        list(generation)
    assert generation.text == "hel"
    assert generation.ids == list(b"hel")
    assert generation.stats.stop_reason == "interrupted"
    assert list(generation) == []


def test_interrupt_during_prefill_has_no_first_token():
    def stop(_done, _total):
        raise KeyboardInterrupt

    generation = generate(FakeEngine("hello"), on_progress=stop)
    with pytest.raises(KeyboardInterrupt):
        next(generation)
    stats = generation.stats
    assert (stats.stop_reason, stats.output_tokens) == ("interrupted", 0)
    assert (stats.ttft_s, stats.prefill_tps, stats.decode_tps) == (None, None, None)


def test_unread_answer_counts_as_interrupted():
    generation = generate(FakeEngine("hello"))
    next(generation)
    assert generation.stats.stop_reason == "interrupted"


def test_reused_positions_are_counted():
    engine = FakeEngine("one", "two")
    first = generate(engine)
    "".join(first)
    assert first.stats.reused_tokens == 0
    longer = Prompt.of_ids([*PROMPT.keys, *b"one", *b" more"])
    second = generate(engine, longer)
    assert "".join(second) == "two"
    assert second.stats.prompt_tokens == len(longer)
    assert second.stats.reused_tokens == len(PROMPT) + 3


def test_progress_is_passed_on():
    seen = []
    list(generate(FakeEngine("a", n_batch=4), on_progress=lambda *at: seen.append(at)))
    assert seen == [(0, 9), (4, 9), (8, 9), (9, 9)]


def test_rates_without_meaning_are_none():
    one_token = generate(FakeEngine("a"))
    list(one_token)
    assert one_token.stats.decode_tps is None
    assert one_token.stats.ttft_s > 0
    assert one_token.stats.prefill_tps > 0
    two_tokens = generate(FakeEngine("ab"))
    list(two_tokens)
    assert two_tokens.stats.decode_tps > 0


def test_first_token_time_counts_from_the_given_start():
    late = generate(FakeEngine("a"))
    list(late)
    early = generate(FakeEngine("a"), started=0.0)
    list(early)
    assert early.stats.ttft_s > late.stats.ttft_s
