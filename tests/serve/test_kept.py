"""Conversations that take turns: each goes on from what it has computed, with the same answer."""

from contextlib import closing

import numpy as np
import pytest

from g3n_cli.engine.prompt import Prompt
from g3n_cli.serve.kept import CacheUse, KeptConversations
from tests.oracle import find_case, open_case, random_prompt

MUCH = 1 << 30
SETTINGS = [
    {"kv": "q8_0"},
    {"kv": "f32", "prefill_size": "128*12"},
    {"kv": "q8_0", "prefill_size": "128*12"},
    {"kv": "f16", "size": "128*12"},
]
SAME = 1e-2  # as in tests/engine/test_runner.py: sums in another order


@pytest.fixture
def engine():
    with closing(open_model()) as opened:
        yield opened


def open_model(**settings):
    return open_case(find_case("small8", "f32"), kv="f32", n_ctx=1024, n_batch=32, **settings)


def open_mat12(**settings):
    return open_case(find_case("mat12", "q8_0"), n_ctx=1024, n_batch=32, **settings)


def make_ids(n, seed):
    return [*random_prompt(n, seed).keys]


class Reader:
    """Reads prompts, and tells how many positions of each were computed."""

    def __init__(self, engine, most_bytes=MUCH):
        self.engine, self.kept = engine, KeptConversations(engine, most_bytes)

    def read(self, ids):
        """Logits of a prompt, and positions that were computed for them."""
        total = 0

        def note(_done, to_do):
            nonlocal total
            total = to_do

        return self.kept.prefill(as_prompt(ids), note), total


def as_prompt(ids):
    return ids if isinstance(ids, Prompt) else Prompt.of_ids(ids)


def assert_fresh(logits, ids):
    with closing(open_model()) as other:
        expected = other.prefill(as_prompt(ids))
    assert np.abs(logits - expected).max() < SAME
    assert logits.argmax() == expected.argmax()


def test_conversations_that_take_turns_compute_only_what_is_new(engine):
    reader = Reader(engine)
    talks = [make_ids(300, 1), make_ids(280, 2), make_ids(320, 3)]
    for talk in talks:
        assert reader.read(talk)[1] == len(talk)
    for turn in range(3):
        for talk in talks:
            talk += make_ids(20, 10 + turn)
            logits, n_computed = reader.read(talk)
            assert n_computed == 20
            assert_fresh(logits, talk)
            answer = int(logits.argmax())
            engine.decode(answer)
            talk.append(answer)


def test_without_memory_for_it_nothing_is_kept(engine):
    reader = Reader(engine, 0)
    for _ in range(2):
        for seed in (1, 2):
            assert reader.read(make_ids(300, seed))[1] >= 298


def test_the_least_recently_used_makes_room(engine):
    reader = Reader(engine)
    reader.read(make_ids(300, 1))
    n_bytes = engine.park().n_bytes
    reader = Reader(engine, int(2.5 * n_bytes))
    for seed in (1, 2, 3, 4):  # 4 is held, 3 and 2 are parked
        reader.read(make_ids(300, seed))
        assert reader.kept.use.n_bytes <= 2.5 * n_bytes
    assert reader.read([*make_ids(300, 2), 5])[1] == 1
    assert reader.read([*make_ids(300, 1), 5])[1] > 290


def test_a_conversation_too_large_to_keep_leaves_the_others_alone(engine):
    reader = Reader(engine)
    reader.read(make_ids(50, 1))
    reader = Reader(engine, int(1.5 * engine.park().n_bytes))
    for n, seed in ((900, 2), (60, 3)):  # parks the first, then has no room for the second
        reader.read(make_ids(n, seed))
    assert reader.read([*make_ids(50, 1), 5])[1] == 1


def test_a_copy_larger_than_the_memory_for_it_is_never_made(engine):
    reader = Reader(engine)
    reader.read(make_ids(50, 1))
    limit = int(1.5 * engine.park().n_bytes)
    reader = Reader(engine, limit)
    copies, park = [], engine.park

    def copy():
        copies.append(park())
        return copies[-1]

    engine.park = copy
    for n, seed in ((900, 2), (60, 3), (900, 4), (40, 5)):
        reader.read(make_ids(n, seed))
    assert [len(parked.state.keys) for parked in copies] == [50, 60]


@pytest.mark.parametrize("kv", ["f32", "f16", "q8_0"])
def test_a_copys_memory_is_known_before_it_is_made(kv):
    with closing(open_mat12(kv=kv)) as engine:
        assert engine.count_parked_bytes() == 0
        for n in (5, 40, 300, 340):  # within the window, beyond it, and with a snapshot
            engine.prefill(as_prompt(make_ids(n, 1)))
            assert engine.count_parked_bytes() == engine.park().n_bytes > 0


def test_what_is_kept_is_told(engine):
    reader = Reader(engine, MUCH)
    assert reader.kept.use == CacheUse(MUCH, 0, 0)
    reader.read(make_ids(300, 1))
    assert reader.kept.use == CacheUse(MUCH, 0, 0)  # the engine's own counts for nothing
    n_bytes = engine.park().n_bytes
    reader.read(make_ids(300, 2))
    assert reader.kept.use == CacheUse(MUCH, n_bytes, 1)
    reader.read(make_ids(40, 3))
    assert reader.kept.use == CacheUse(MUCH, 2 * n_bytes, 2)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_what_is_put_back_goes_on_exactly_as_if_it_had_never_left(settings):
    talks = [[make_ids(n, n)] for n in (300, 280, 40)]
    for talk in talks:
        for n in (20, 1, 45):
            talk.append([*talk[-1], *make_ids(n, len(talk[0]) + n)])
    expected = []
    for talk in talks:
        with closing(open_mat12(**settings)) as alone:
            expected.append([alone.prefill(as_prompt(text)) for text in talk])
    with closing(open_mat12(**settings)) as engine:
        reader = Reader(engine)
        for turn, n_new in enumerate((None, 20, 1, 45)):
            for talk, logits in zip(talks, expected, strict=True):
                got, n_computed = reader.read(talk[turn])
                assert n_computed == n_new or turn == 0
                assert np.array_equal(got, logits[turn])


def test_a_shared_beginning_is_computed_once_more_then_kept(engine):
    reader = Reader(engine)
    system = make_ids(400, 1)
    for seed, n_most in ((2, 460), (3, 460), (4, 60), (5, 60)):
        ids = [*system, 100 + seed, *make_ids(59, seed)]
        logits, n_computed = reader.read(ids)
        assert n_computed == n_most
        assert_fresh(logits, ids)


def test_an_answer_asked_for_again_goes_on_from_the_question(engine):
    reader = Reader(engine)
    talk = make_ids(300, 1)
    reader.read(talk)
    longer = [*talk, *make_ids(40, 2)]
    reader.read(longer)
    for token in make_ids(80, 3):
        engine.decode(token)
    reader.read(make_ids(300, 4))
    logits, n_computed = reader.read([*talk, 9, *make_ids(39, 5)])
    assert n_computed == 40
    assert_fresh(logits, [*talk, 9, *make_ids(39, 5)])


def test_a_reading_that_is_broken_off_leaves_all_conversations_right(engine):
    reader = Reader(engine)
    first, second = make_ids(300, 1), make_ids(320, 2)
    reader.read(first)

    def leave(done, _total):
        if done >= 128:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        reader.kept.prefill(as_prompt(second), leave)
    assert engine.n_past == 128  # not a batch more
    logits, n_computed = reader.read([*first, 5])
    assert n_computed == 1
    assert_fresh(logits, [*first, 5])
    logits, n_computed = reader.read(second)
    assert n_computed == 320 - 128
    assert_fresh(logits, second)


def test_pictures_count_by_content(engine):
    def make(name, seed):
        keys = (*make_ids(100, 1), *((name, i) for i in range(50)), *make_ids(150, 2))
        ids = np.array([k if isinstance(k, int) else -1 for k in keys], np.int32)
        n_embd = engine.info.n_embd
        rows = np.random.default_rng(seed).normal(size=(50, n_embd)).astype(np.float32)
        return Prompt(keys, ids, np.maximum(ids, 0), rows)

    reader = Reader(engine)
    one, other = make("one", 1), make("other", 2)
    reader.read(one)
    assert reader.read(other)[1] == 300
    assert_fresh(reader.read(one)[0], one)
    longer = [*other.keys, 5]
    ids = np.append(other.ids, np.int32(5))
    prompt = Prompt(tuple(longer), ids, np.maximum(ids, 0), other.rows)
    logits, n_computed = reader.read(prompt)
    assert n_computed == 1
    assert_fresh(logits, prompt)
