from dataclasses import replace

import pytest

from g3n_cli.chat.inputs import BrokenInput, FileInput, Form, TextInput
from g3n_cli.chat.mapping import Answered, Failed, Mapper, find_prefix
from g3n_cli.chat.media import MediaStore
from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.session import Session
from g3n_cli.config import EngineSettings
from g3n_cli.engine.open import open_engine
from g3n_cli.errors import InputError
from g3n_cli.media.options import MediaOptions
from tests.fake_encoder import FakeProjector
from tests.fakes import make_engine, show_ids
from tests.media_files import encode_wav, make_tone
from tests.model_files import SMALL8

PREFIX_ANSWER = ""  # a scripted engine answers the prefix too; nobody listens


def make_mapper(session, form, first, media=None):
    prefix = find_prefix(session, form, first)
    return Mapper(session, form, media or MediaOptions(), prefix), prefix


def lines(*texts):
    return [TextInput(index, text) for index, text in enumerate(texts)]


def test_each_input_is_asked_for_by_itself():
    engine = make_engine(PREFIX_ANSWER, "one", "two")
    session = Session(engine, AnswerOptions(seed=7, temp=0), "Be brief.")
    asked = lines("first", "second")
    mapper, _ = make_mapper(session, Form("What is {}?"), asked[0])
    results = [mapper.answer(each) for each in asked]
    assert [(r.text, r.seed, r.stats.stop_reason) for r in results] == [
        ("one", 7, "end"),
        ("two", 8, "end"),
    ]
    prefix, *prompts = [show_ids(prompt.ids) for prompt in engine.prompts]
    assert prefix == "<bos><start_of_turn>user\nBe brief.\n\nWhat is "
    end = "<end_of_turn>\n<start_of_turn>model\n"
    assert prompts == [f"{prefix}first?{end}", f"{prefix}second?{end}"]


def test_the_prefix_is_counted_once_as_computed_then_as_reused():
    engine = make_engine(PREFIX_ANSWER, "one", "two", "three")
    session = Session(engine, AnswerOptions(seed=0, temp=0))
    asked = lines("a", "b", "c")
    mapper, prefix = make_mapper(session, Form("What is {}?"), asked[0])
    n_prompt = sum(mapper.answer(each).stats.prompt_tokens for each in asked)
    assert mapper.n_prompt == n_prompt
    assert mapper.n_reused == 2 * prefix.n_tokens
    assert prefix.n_computed == prefix.n_tokens


def test_what_cannot_be_asked_fails_alone():
    engine = make_engine(PREFIX_ANSWER, "one", "two", n_ctx=200)
    session = Session(engine, AnswerOptions(seed=0, temp=0))
    asked = [TextInput(0, "a"), BrokenInput(1, "?", "no text"), TextInput(2, "x" * 300)]
    asked.append(TextInput(3, "b"))
    mapper, prefix = make_mapper(session, Form("What is {}?"), asked[0])
    first, broken, long, last = (mapper.answer(each) for each in asked)
    assert (first.text, last.text) == ("one", "two")
    assert broken == Failed(asked[1], "no text")
    assert isinstance(long, Failed)
    assert "the context holds 200" in long.error
    assert prefix.n_computed == prefix.n_tokens


def test_a_prompt_that_no_input_fits_into_ends_it():
    engine = make_engine("never", n_ctx=50)
    session = Session(engine, AnswerOptions(seed=0))
    asked = TextInput(0, "a")
    mapper, _ = make_mapper(session, Form("x" * 100 + "{}"), asked)
    with pytest.raises(InputError):
        mapper.answer(asked)


def test_fields_have_a_prefix_up_to_the_first_of_them():
    engine = make_engine(PREFIX_ANSWER, "one", "two")
    session = Session(engine, AnswerOptions(seed=0, temp=0))
    asked = [TextInput(i, "", {"a": text, "b": "same"}) for i, text in enumerate("xy")]
    mapper, prefix = make_mapper(session, Form("Tell {a} of {b}"), asked[0])
    for each in asked:
        mapper.answer(each)
    assert show_ids(engine.prompts[0].ids) == "<bos><start_of_turn>user\nTell "
    assert prefix.n_computed == prefix.n_tokens


@pytest.mark.parametrize("form", ["Write down {}", "Write it down.", "{}"])
def test_sounds_and_texts_share_what_goes_before_them(tmp_path, form):
    engine = make_engine(PREFIX_ANSWER, "one", "two", "three", "four")
    engine.info = replace(engine.info, n_embd=8)
    projector = FakeProjector()
    store = MediaStore(engine.info, projector.open, keeps_open=True)
    session = Session(engine, AnswerOptions(seed=0, temp=0), "Be brief.", media=store)
    paths = [tmp_path / name for name in ("a.wav", "b.txt", "c.wav", "gone.wav")]
    for path in paths[:3]:
        sound = encode_wav(make_tone(1 + len(path.read_bytes()) if path.exists() else 1))
        path.write_bytes(b"text" if path.suffix == ".txt" else sound)
    asked = [FileInput(index, path) for index, path in enumerate(paths)]
    mapper, prefix = make_mapper(session, Form(form), asked[0])
    results = [mapper.answer(each) for each in asked]
    assert [type(result) for result in results] == [Answered, Answered, Answered, Failed]
    assert prefix.n_computed == prefix.n_tokens
    shared = show_ids(engine.prompts[0].ids)
    assert shared.startswith("<bos><start_of_turn>user\nBe brief.")
    assert ("Write down" in shared) == (form == "Write down {}")


@pytest.fixture
def small8():
    """A model whose sliding layers keep 43 positions."""
    engine = open_engine(SMALL8, "small8", EngineSettings(n_ctx=512, n_batch=16))
    yield engine
    engine.close()


@pytest.mark.parametrize("n_answer", [2, 60])
def test_a_prefix_longer_than_the_rings_is_computed_once_however_long_answers_are(small8, n_answer):
    session = Session(small8, AnswerOptions(seed=0, temp=0, max_tokens=n_answer), "word " * 60)
    form = Form("Say something about {} now")
    asked = lines("rain", "rain", "rain and wind", "snow " * 20)
    mapper, prefix = make_mapper(session, form, asked[0])
    results = [mapper.answer(each) for each in asked]
    assert prefix.n_tokens > 100
    assert prefix.n_computed == prefix.n_tokens
    assert all(result.stats.reused_tokens == prefix.n_tokens for result in results)
    assert all(result.stats.output_tokens == n_answer for result in results)


def test_an_answer_does_not_depend_on_what_was_asked_before(small8):
    form = Form("Say something about {} now")
    asked = lines("rain", "rain and", "rain and wind", "snow", "snow")

    def answer(order):
        session = Session(small8, AnswerOptions(seed=3, max_tokens=40), "word " * 60)
        small8.trim(0)
        mapper, _ = make_mapper(session, form, asked[0])
        return {index: mapper.answer(asked[index]).text for index in order}

    together = answer(range(len(asked)))
    assert answer(reversed(range(len(asked)))) == together
    assert {index: answer([index])[index] for index in together} == together
    assert together[3] != together[4], "each input has a seed of its own"
