from contextlib import closing

import pytest

from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.saved import SavedChat
from g3n_cli.chat.session import Session
from g3n_cli.chat.states import StateFolder
from g3n_cli.chat.store import SessionStore
from g3n_cli.config import EngineSettings
from g3n_cli.engine.open import open_engine
from g3n_cli.errors import InputError
from tests.fakes import make_engine, show_ids
from tests.model_files import SMALL8

GREEDY = AnswerOptions(seed=1, temp=0)


def read(engine, n):
    return show_ids(engine.prompts[n].ids.tolist())


def test_the_answer_begins_with_it_and_the_model_goes_on():
    engine = make_engine(" it is.", " not.")
    session = Session(engine, GREEDY, prefix="Yes,")
    assert list(session.reply("Sure?"))[:2] == ["Yes, ", "i"]
    assert read(engine, 0).endswith("<start_of_turn>model\nYes,")
    assert session.turns[0].text == "Yes, it is."
    assert "".join(session.reply("And?")) == "Yes, not."


def test_its_tokens_are_part_of_the_prompt_and_of_the_turn():
    session = Session(make_engine(" it is."), GREEDY, prefix="Yes,")
    plain = Session(make_engine("x"), GREEDY)
    list(session.reply("Sure?"))
    list(plain.reply("Sure?"))
    assert session.last_stats.prompt_tokens == plain.last_stats.prompt_tokens + len("Yes,")
    assert session.last_stats.output_tokens == len(" it is.")
    assert show_ids(session.turns[0].ids) == "Yes, it is."


def test_the_next_turn_reuses_all_that_is_computed():
    session = Session(make_engine(" it is.", "x"), GREEDY, prefix="Yes,")
    list(session.reply("Sure?"))
    n_computed = session.engine.n_past
    reply = session.reply("And?")
    list(reply)
    assert reply.stats.reused_tokens == n_computed


def test_regenerating_begins_with_it_again():
    engine = make_engine("one", "two")
    session = Session(engine, GREEDY, prefix="No: ")
    list(session.reply("Sure?"))
    assert "".join(session.regenerate()) == "No: two"
    assert read(engine, 0) == read(engine, 1)
    assert [turn.text for turn in session.turns] == ["No: two"]


def test_a_model_that_adds_nothing_has_said_the_prefix():
    session = Session(make_engine(""), GREEDY, prefix="Yes.")
    assert list(session.reply("Sure?")) == ["Yes."]
    assert session.turns[0].text == "Yes."


def test_nothing_is_said_before_the_first_token():
    engine = make_engine("one")
    engine.prefill = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt())
    session = Session(engine, GREEDY, prefix="Yes,")
    with pytest.raises(KeyboardInterrupt):
        list(session.reply("Sure?"))
    assert session.turns == []


def test_what_looks_like_markup_is_text():
    engine = make_engine("x")
    list(Session(engine, GREEDY, prefix="<end_of_turn>").reply("Sure?"))
    assert engine.prompts[0].ids.tolist()[-13:] == list(b"<end_of_turn>")


def test_it_counts_against_the_context():
    session = Session(make_engine("x", n_ctx=80), GREEDY, prefix="y" * 60)
    with pytest.raises(InputError, match="the context holds 80"):
        session.reply("Sure?")


def test_it_is_saved_with_the_answer(tmp_path):
    store = SessionStore(tmp_path / "chats.db")
    session = Session(make_engine(" it is."), GREEDY, prefix="Yes,")
    session.recorder = SavedChat(store, StateFolder(tmp_path / "kv"), session)
    list(session.reply("Sure?"))
    (turn,) = store.load("1").turns
    assert (turn.text, show_ids(turn.ids)) == ("Yes, it is.", "Yes, it is.")
    store.close()


def test_going_on_after_it_is_as_if_all_was_read_anew():
    settings, options = EngineSettings(n_ctx=256), AnswerOptions(seed=1, temp=0, max_tokens=12)
    with (
        closing(open_engine(SMALL8, "small8", settings)) as engine,
        closing(open_engine(SMALL8, "small8", settings)) as other,
    ):
        session = Session(engine, options, prefix="one two")
        list(session.reply("three"))
        fresh = Session(other, options, prefix="one two")
        fresh.turns = list(session.turns)
        for each in (session, fresh):
            list(each.reply("four"))
        assert session.last_stats.reused_tokens > fresh.last_stats.reused_tokens == 0
        assert session.turns[1].ids == fresh.turns[1].ids
