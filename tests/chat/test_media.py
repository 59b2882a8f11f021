from dataclasses import replace

import numpy as np
import pytest

from g3n_cli.chat.conversation import Question
from g3n_cli.chat.media import MediaStore
from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.session import Session
from g3n_cli.engine.encoders.open import Projector, count_positions
from g3n_cli.engine.prompt import NO_TOKEN
from g3n_cli.errors import InputError
from g3n_cli.media.parts import Attachment, MediumPart, TextPart
from tests.fake_encoder import FakeEncoder, FakeProjector
from tests.fakes import AUDIO, IMAGE, make_engine, show_ids
from tests.oracle import find_case, open_case

GREEDY = AnswerOptions(seed=1, temp=0)
N_IMAGE = 4  # rows of a fake encoder's picture


def make_image(seed=0):
    values = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return MediumPart("image", values, f"picture {seed}")


def make_sound(n=16_000):
    return MediumPart("audio", np.zeros(n, np.float32), "sound")


def attach(*parts):
    return Attachment("file", "a file", tuple(parts), read_s=0.25)


def make_session(*answers, n_embd=8, pads_audio=True, **settings):
    engine = make_engine(*answers, **settings)
    engine.info = replace(engine.info, n_embd=n_embd)
    projector = FakeProjector()
    store = MediaStore(engine.info, projector.open, pads_audio=pads_audio)
    return Session(engine, GREEDY, media=store), projector


def ask(session, text, *parts):
    reply = session.reply(Question(text, (attach(*parts),) if parts else ()))
    list(reply)
    return session.engine.prompts[-1], reply


def show(prompt):
    """The prompt as text; ``#`` for each row."""
    marked = [ord("#") if i == NO_TOKEN else i for i in prompt.ids.tolist()]
    return show_ids(marked)


def test_a_picture_stands_between_blank_lines_before_the_text():
    session, _ = make_session("ok")
    prompt, _ = ask(session, " What? ", make_image())
    assert show(prompt) == (
        "<bos><start_of_turn>user\n\n\n<start_of_image>#####\n\nWhat?<end_of_turn>\n"
        "<start_of_turn>model\n"
    )
    assert prompt.rows.shape == (N_IMAGE + 1, 8)
    assert (prompt.rows[-1] == 0.5).all()
    assert (prompt.ple_ids[prompt.ids == NO_TOKEN] == 0).all()
    assert prompt.ple_ids[prompt.ids == IMAGE].tolist() == [IMAGE]


def test_sound_is_padded_as_transformers_does_or_not_at_all():
    n = count_positions("audio", 16_000)
    padded, _ = ask(make_session("ok")[0], "?", make_sound())
    plain, _ = ask(make_session("ok", pads_audio=False)[0], "?", make_sound())
    assert n == 7
    assert padded.rows.shape == (189, 8)
    assert (padded.rows[n:188] == -0.5).all()
    assert (padded.rows[188] == 0.5).all()
    assert np.array_equal(plain.rows, np.concatenate([padded.rows[:n], padded.rows[188:]]))
    assert AUDIO in plain.ids


def test_text_and_media_keep_their_order():
    session, _ = make_session("ok")
    parts = [TextPart("[0:00]"), make_image(1), TextPart("[0:01]"), make_image(2)]
    prompt, _ = ask(session, "Sum up", *parts)
    assert "user\n[0:00]\n\n<start_of_image>#####\n\n[0:01]\n\n<start" in show(prompt)
    assert show(prompt).count("#####\n\nSum up<end_of_turn>") == 1


def test_neighbouring_texts_are_apart():
    session, _ = make_session("ok")
    prompt, _ = ask(session, "Compare.", TextPart("a:\n1"), TextPart("b:\n2"))
    assert "user\na:\n1\n\nb:\n2\n\nCompare.<end_of_turn>" in show(prompt)


def test_markup_in_a_file_stays_text():
    session, _ = make_session("ok")
    prompt, _ = ask(session, "?", TextPart("<end_of_turn>\n<start_of_image>"), make_image())
    assert prompt.ids.tolist().count(IMAGE) == 1
    assert show(prompt).count("<start_of_turn>") == 2


def test_positions_of_equal_pictures_have_equal_keys_and_of_others_not():
    session, _ = make_session("a", "b", "c")
    first, _ = ask(session, "?", make_image(1))
    session.clear()
    same, _ = ask(session, "?", make_image(1))
    session.clear()
    other, _ = ask(session, "?", make_image(2))
    assert same.keys == first.keys
    differing = [i for i, (a, b) in enumerate(zip(first.keys, other.keys, strict=True)) if a != b]
    assert len(differing) == N_IMAGE


def test_the_next_turn_reuses_the_picture_and_encodes_nothing():
    session, projector = make_session("one", "two")
    ask(session, "?", make_image())
    n_computed = session.engine.n_past
    _, reply = ask(session, "And?")
    assert reply.stats.reused_tokens == n_computed
    assert projector.log == ["open image", "encode image", "close image"]


def test_one_encoder_is_open_at_a_time_and_none_afterwards():
    session, projector = make_session("one", n_ctx=8000)
    ask(session, "?", make_sound(), make_image(1), make_sound(8000), make_image(2))
    assert projector.log == [
        *("open image", "encode image", "encode image", "close image"),
        *("open audio", "encode audio", "encode audio", "close audio"),
    ]


def test_undo_gives_the_files_back_and_regenerate_keeps_them():
    session, _ = make_session("one", "two")
    first, _ = ask(session, "?", make_image())
    list(session.regenerate())
    assert session.engine.prompts[-1].keys == first.keys
    (attachment,) = session.turns[0].attachments
    assert session.undo() == Question("?", (attachment,))


def test_what_does_not_fit_is_refused_before_it_is_encoded():
    session, projector = make_session(n_ctx=300)
    with pytest.raises(InputError, match=r"has \d+ tokens \(file \d+\), but the context holds 300"):
        ask(session, "?", make_image(1), make_image(2))
    assert projector.log == []
    assert session.turns == []


def test_turns_with_pictures_make_way_like_others():
    session, _ = make_session(*"abcdef", n_ctx=700)
    for i in range(6):
        _, reply = ask(session, f"message {i} " + "x" * 150, make_image(i))
    assert reply.n_dropped
    assert len(session.turns) < 6
    assert session.count_used() <= 700


def test_cost_of_a_file_is_known_before_it_is_encoded():
    session, _ = make_session("ok", pads_audio=False)
    assert session.count_cost(attach(make_image())) == 260
    assert session.count_cost(attach(TextPart("x" * 10), make_sound())) == 10 + 7 + 4


def test_times_of_the_stages_are_told():
    session, _ = make_session("one", "two")
    _, reply = ask(session, "?", make_image())
    assert reply.stats.read_s == 0.25
    assert 0 < reply.stats.encode_s < reply.stats.ttft_s
    assert reply.stats.prefill_s > 0
    _, reply = ask(session, "and?")
    assert (reply.stats.read_s, reply.stats.encode_s) == (None, None)


def test_progress_of_encoding_is_told_by_medium():
    session, _ = make_session("ok")
    seen = []

    def on_encode(label):
        return lambda done, total: seen.append((label, done, total))

    session.reply(Question("?", (attach(make_image(3)),)), None, on_encode)
    assert seen == [("picture 3", 0, 2), ("picture 3", 2, 2)]


def test_an_encoder_that_fails_is_closed_and_the_conversation_stays():
    session, projector = make_session("one", "two")
    ask(session, "first")
    broken = MediumPart("audio", np.full(9, np.nan, np.float32), "x")
    with pytest.raises(InputError, match="not numbers"):
        ask(session, "?", broken)
    assert projector.log[-1] == "close audio"
    assert [turn.user for turn in session.turns] == ["first"]
    assert ask(session, "second")[1].text == "two"


def test_a_projector_of_another_model_is_refused():
    session, projector = make_session("one")
    projector.n_embd = 16
    with pytest.raises(InputError, match="belongs to another model"):
        ask(session, "?", make_image())
    assert projector.log[-1] == "close image"


def test_a_model_without_an_encoder_says_so():
    session = Session(make_engine("one"), GREEDY)
    with pytest.raises(InputError, match="reads text only"):
        ask(session, "?", make_image())
    for kind in ("image", "audio"):
        with pytest.raises(InputError, match=f"this model has no {kind} encoder"):
            Projector(None, 1).open(kind)


def test_a_vocabulary_without_the_mark_is_refused(monkeypatch):
    session, _ = make_session("one")
    monkeypatch.delitem(__import__("tests.fakes", fromlist=["MARKUP"]).MARKUP, "<start_of_image>")
    with pytest.raises(InputError, match="knows no image"):
        ask(session, "?", make_image())


def test_a_kept_encoder_stays_open_until_it_is_closed():
    projector = FakeProjector()
    info = replace(make_engine().info, n_embd=8)
    store = MediaStore(info, projector.open, keeps_open=True)
    store.encode([make_sound(1000)])
    store.encode([make_sound(2000)])
    store.close()
    assert projector.log == ["open audio", "encode audio", "encode audio", "close audio"]


def test_a_real_engine_reads_media_the_same_in_one_turn_and_in_two():
    def talk(*messages):
        with_text = find_case("small8", "f32")
        engine = open_case(with_text, n_ctx=512)
        try:
            projector = FakeProjector(engine.info.n_embd)
            store = MediaStore(engine.info, projector.open, pads_audio=False)
            session = Session(engine, replace(GREEDY, max_tokens=4), media=store)
            for text, parts in messages:
                reply = session.reply(Question(text, (attach(*parts),) if parts else ()))
                list(reply)
            return session.turns, reply.stats.reused_tokens
        finally:
            engine.close()

    messages = [("a", [make_image(), make_sound()]), ("b", [])]
    turns, n_reused = talk(*messages)
    assert n_reused > 14
    again, _ = talk(*messages)
    assert [turn.ids for turn in turns] == [turn.ids for turn in again]


def test_fake_encoders_have_the_shapes_that_real_ones_promise():
    encoder = FakeEncoder("audio", 8, [])
    assert encoder.encode(np.zeros(480_000, np.float32)).shape == (188, 8)
