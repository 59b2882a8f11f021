from contextlib import closing
from dataclasses import replace

import pytest

from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.session import Session
from g3n_cli.config import EngineSettings
from g3n_cli.engine.open import open_engine
from g3n_cli.errors import InputError, UsageError
from tests.fakes import make_engine, show_ids
from tests.model_files import SMALL8

GREEDY = AnswerOptions(seed=1, temp=0)


def read(engine, n):
    """What the engine was asked to read the n-th time, as text."""
    return show_ids(engine.prompts[n].ids.tolist())


def test_reply_streams_and_is_remembered():
    engine = make_engine("Hi!", "Bye.")
    session = Session(engine, GREEDY)
    assert list(session.reply("Hello")) == ["H", "i", "!"]
    assert "".join(session.reply("And?")) == "Bye."
    assert [(turn.user, turn.text) for turn in session.turns] == [
        ("Hello", "Hi!"),
        ("And?", "Bye."),
    ]
    assert "model\nHi!<end_of_turn>\n<start_of_turn>user\nAnd?" in read(engine, 1)
    assert session.last_stats.stop_reason == "end"


def test_next_turn_reuses_all_that_is_computed():
    session = Session(make_engine("Hi!", "Bye."), GREEDY)
    list(session.reply("Hello"))
    n_computed = session.engine.n_past
    reply = session.reply("And?")
    list(reply)
    assert reply.stats.reused_tokens == n_computed


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_was_said_before_an_interruption_is_kept(error):
    session = Session(make_engine("Hi!", "Yes", errors={1: error()}), GREEDY)
    with pytest.raises(error):
        list(session.reply("Hello"))
    assert [turn.text for turn in session.turns] == ["Hi"]
    assert session.last_stats.stop_reason == "interrupted"


def test_what_was_said_is_kept_when_the_reader_goes_away():
    session = Session(make_engine("Hi!"), GREEDY)
    pieces = iter(session.reply("Hello"))
    next(pieces)
    pieces.close()
    assert [turn.text for turn in session.turns] == ["H"]


def test_a_message_without_an_answer_is_not_kept():
    session = Session(make_engine(""), GREEDY)
    assert list(session.reply("Hello")) == []
    assert session.turns == []


def test_undo_forgets_the_last_turn():
    engine = make_engine("one", "two", "three")
    session = Session(engine, GREEDY)
    list(session.reply("first"))
    list(session.reply("second"))
    assert session.undo().text == "second"
    list(session.reply("third"))
    assert "second" not in read(engine, 2)
    assert "first" in read(engine, 2)


def test_regenerate_replaces_the_answer():
    engine = make_engine("one", "two")
    session = Session(engine, GREEDY)
    list(session.reply("first"))
    assert "".join(session.regenerate()) == "two"
    assert [(turn.user, turn.text) for turn in session.turns] == [("first", "two")]
    assert read(engine, 0) == read(engine, 1)


def test_interrupted_regeneration_keeps_the_old_answer():
    session = Session(make_engine("one", ""), GREEDY)
    list(session.reply("first"))
    list(session.regenerate())
    assert [turn.text for turn in session.turns] == ["one"]


@pytest.mark.parametrize("name", ["undo", "regenerate"])
def test_nothing_to_take_back_at_first(name):
    with pytest.raises(UsageError):
        getattr(Session(make_engine(), GREEDY), name)()


def test_clear_keeps_the_system_text():
    engine = make_engine("one", "two")
    session = Session(engine, GREEDY, system="Be brief.")
    list(session.reply("first"))
    session.clear()
    assert session.count_used() == 0
    list(session.reply("second"))
    assert read(engine, 1).startswith("<bos><start_of_turn>user\nBe brief.\n\nsecond")


def test_a_full_context_forgets_the_oldest_turns_and_keeps_the_system_text():
    engine = make_engine(*"abcdefgh", n_ctx=400)
    session = Session(engine, GREEDY, system="SYSTEM")
    n_dropped = []
    for i in range(8):
        reply = session.reply(f"message {i} " + "x" * 40)
        list(reply)
        n_dropped.append(reply.n_dropped)
    assert sum(n_dropped) > 0
    assert len(session.turns) == 8 - sum(n_dropped)
    last = read(engine, 7)
    assert "SYSTEM" in last
    assert "message 7" in last
    assert "message 0" not in last
    dropping = [n for n in n_dropped if n]
    assert len(dropping) < sum(n_dropped)  # several at a stroke, so that prefixes stay useful


def test_room_is_left_for_the_answer():
    engine = make_engine("a", "b" * 90, n_ctx=400)
    session = Session(engine, GREEDY)
    list(session.reply("x" * 200))
    reply = session.reply("y" * 100)
    assert "".join(reply) == "b" * 90
    assert reply.n_dropped == 1


def test_a_message_longer_than_the_context_is_refused_with_the_numbers():
    session = Session(make_engine(n_ctx=100), GREEDY)
    with pytest.raises(InputError, match=r"has 1,\d\d\d tokens, but the context holds 100"):
        session.reply("x" * 1000)
    assert session.turns == []


def test_max_tokens_and_stop_texts_end_an_answer():
    session = Session(make_engine("abc STOP def", "abcdef"), GREEDY, stop=["STOP"])
    reply = session.reply("x")
    assert "".join(reply) == "abc "
    assert reply.stats.stop_reason == "stop"
    session.options = session.options.change("max_tokens", "2")
    reply = session.reply("x")
    assert "".join(reply) == "ab"
    assert reply.stats.stop_reason == "length"


def test_progress_is_reported():
    seen = []
    session = Session(make_engine("ok"), GREEDY)
    list(session.reply("hello", lambda done, total: seen.append((done, total))))
    assert seen[0][0] == 0
    assert seen[-1][0] == seen[-1][1]


@pytest.mark.parametrize(("n_ctx_train", "hint"), [(64, "reads at most 64"), (4096, "--ctx")])
def test_a_prompt_that_is_too_long_is_told_what_helps(n_ctx_train, hint):
    engine = make_engine("no", n_ctx=64)
    engine.info = replace(engine.info, n_ctx_train=n_ctx_train)
    with pytest.raises(InputError, match="the context holds 64") as error:
        Session(engine, GREEDY).reply("word " * 100)
    assert hint in error.value.hint


def test_of_several_answers_the_prompt_is_read_once_however_long_they_are():
    """They are longer than a ring that holds a window of 24 and a batch."""
    settings = EngineSettings(n_ctx=256, n_batch=8)
    with closing(open_engine(SMALL8, "small8", settings)) as engine:
        session = Session(engine, AnswerOptions(seed=1, max_tokens=100))
        session.n_wanted = 3
        list(session.reply("one two three four five six seven eight nine ten"))
        stats = [session.last_stats]
        for _ in range(2):
            list(session.regenerate())
            stats.append(session.last_stats)
    n = stats[0].prompt_tokens
    assert [each.reused_tokens for each in stats] == [0, n - 1, n - 1]
    assert min(each.output_tokens for each in stats) > 24 + 8 + 3
