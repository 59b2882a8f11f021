import json

import pytest

from g3n_cli.chat.options import ServerOptions
from g3n_cli.chat.remote import RemoteSession
from g3n_cli.engine.server import Server, ServerAddress
from g3n_cli.errors import ContextFullError, ServerError, UsageError
from tests.fake_server import fail, make_event, say, serve, stall, stream


def make_remote(fake, options=None, **more):
    server = Server(ServerAddress.parse(fake.url), None, lambda _: None)
    return RemoteSession(server, "m", options or ServerOptions(), **more)


def shown(request):
    return [(message["role"], message["content"]) for message in request["messages"]]


def test_all_that_was_said_goes_along():
    with serve(say("Hi!"), say("Bye.")) as fake:
        chat = make_remote(fake, system="Be brief.")
        list(chat.reply("Hello"))
        list(chat.reply("And?"))
    assert shown(fake.requests[1]) == [
        ("system", "Be brief."),
        ("user", "Hello"),
        ("assistant", "Hi!"),
        ("user", "And?"),
    ]


def test_only_options_that_were_given_are_asked_for():
    with serve(say("a"), say("b")) as fake:
        chat = make_remote(fake)
        list(chat.reply("x"))
        chat.options = ServerOptions(seed=7, temp=0.0, top_k=3, repeat_penalty=1.5, max_tokens=9)
        list(chat.reply("y"))
    plain = {"model", "messages", "stream", "stream_options", "headers", "path"}
    assert fake.requests[0].keys() == plain
    asked = {key: value for key, value in fake.requests[1].items() if key not in plain}
    assert asked == {
        "seed": 7,
        "temperature": 0.0,
        "top_k": 3,
        "repeat_penalty": 1.5,
        "repetition_penalty": 1.5,
        "max_tokens": 9,
    }


def test_stop_texts_are_the_servers_business():
    with serve(say("a")) as fake:
        list(make_remote(fake, stop=("END",)).reply("x"))
    assert fake.requests[0]["stop"] == ["END"]


def test_regenerating_replaces_the_answer_and_draws_anew():
    with serve(say("one"), say("two"), say("three")) as fake:
        chat = make_remote(fake, ServerOptions(seed=2**32 - 1))
        list(chat.reply("x"))
        list(chat.regenerate())
        list(chat.regenerate())
    assert [(turn.user, turn.text) for turn in chat.turns] == [("x", "three")]
    assert [request["seed"] for request in fake.requests] == [2**32 - 1, 0, 1]
    assert shown(fake.requests[2]) == [("user", "x")]


def test_regenerating_without_a_seed_sends_one():
    with serve(say("one"), say("two")) as fake:
        chat = make_remote(fake)
        list(chat.reply("x"))
        list(chat.regenerate())
    assert "seed" not in fake.requests[0]
    assert fake.requests[1]["seed"] > 0


def test_a_broken_stream_keeps_what_was_said():
    with serve(stream(make_event("Hel"), ends=False), say("fine")) as fake:
        chat = make_remote(fake)
        with pytest.raises(ServerError, match="broke off"):
            list(chat.reply("Hello"))
        assert [turn.text for turn in chat.turns] == ["Hel"]
        assert chat.last_stats.stop_reason == "dropped"
        list(chat.reply("Go on"))
    assert shown(fake.requests[1])[1] == ("assistant", "Hel")


def test_what_was_said_is_kept_when_the_reader_goes_away():
    with serve(stall(make_event("Hel"))) as fake:
        chat = make_remote(fake)
        pieces = iter(chat.reply("Hello"))
        next(pieces)
        pieces.close()
    assert [turn.text for turn in chat.turns] == ["Hel"]
    assert chat.last_stats.stop_reason == "interrupted"


def test_a_refused_message_is_not_kept():
    with serve(stream(ends=False)) as fake:
        chat = make_remote(fake)
        with pytest.raises(ServerError):
            list(chat.reply("Hello"))
    assert chat.turns == []


def test_the_context_is_counted_as_the_server_counts_it():
    with serve(say("a", usage=(10, 2)), say("b", usage=(20, 3)), say("c")) as fake:
        chat = make_remote(fake)
        assert chat.count_used() == 0
        list(chat.reply("x"))
        assert chat.count_used() == 12
        list(chat.reply("y"))
        assert chat.count_used() == 23
        chat.undo()
        assert chat.count_used() == 12
        list(chat.reply("z"))
        assert chat.count_used() is None


def test_an_option_can_be_left_to_the_server_again():
    options = ServerOptions().change("temp", "0.5")
    assert options.show()["temp"] == "0.5"
    assert options.change("temp", "none") == ServerOptions()
    assert "server" in ServerOptions().show()["temp"]


@pytest.mark.parametrize("change", [("heat", "1"), ("temp", "-1"), ("top_k", "x"), ("seed", "-1")])
def test_options_that_make_no_sense_are_refused(change):
    with pytest.raises(UsageError):
        ServerOptions().change(*change)


OPENAI = {"message": "Your messages resulted in 9999 tokens.", "code": "context_length_exceeded"}
LLAMA = {"code": 400, "type": "exceed_context_size_error", "message": "the request is too long"}
WORDS = {"message": "This model's maximum context length is 512 tokens.", "code": 400}


@pytest.mark.parametrize("told", [OPENAI, LLAMA, WORDS])
@pytest.mark.parametrize("is_streamed", [False, True])
def test_the_oldest_turns_are_forgotten_when_the_context_is_full(told, is_streamed):
    body = json.dumps({"error": told}).encode()
    refuse = stream(b"data: " + body + b"\n\n") if is_streamed else fail(400, body)
    with serve(say("A."), say("B."), refuse, refuse, say("C.")) as fake:
        chat = make_remote(fake, system="Be brief.")
        for text in ("a", "b"):
            list(chat.reply(text))
        reply = chat.reply("c")
        assert "".join(reply) == "C."
    assert reply.n_dropped == 2
    assert [turn.user for turn in chat.turns] == ["c"]
    assert shown(fake.requests[-2])[1:] == [("user", "b"), ("assistant", "B."), ("user", "c")]
    assert shown(fake.requests[-1]) == [("system", "Be brief."), ("user", "c")]


def test_the_oldest_turns_are_forgotten_when_the_stream_ends_without_a_word():
    refuse = fail(400, json.dumps({"error": OPENAI}).encode())
    with serve(say("A."), stream(), refuse, say("B.")) as fake:
        chat = make_remote(fake)
        list(chat.reply("a"))
        reply = chat.reply("b")
        assert "".join(reply) == "B."
    assert reply.n_dropped == 1
    assert shown(fake.requests[-1]) == [("user", "b")]


def test_a_message_that_is_too_long_alone_is_refused():
    with serve(say("A."), *[fail(400, json.dumps({"error": OPENAI}).encode())] * 2) as fake:
        chat = make_remote(fake)
        list(chat.reply("a"))
        with pytest.raises(ContextFullError) as error:
            list(chat.reply("b"))
    assert "alone is too long" in error.value.hint
    assert [turn.user for turn in chat.turns] == ["a"]


def test_other_refusals_forget_nothing():
    with serve(say("A."), fail(400, b'{"error": {"message": "no such field"}}')) as fake:
        chat = make_remote(fake)
        list(chat.reply("a"))
        with pytest.raises(ServerError, match="no such field"):
            list(chat.reply("b"))
    assert len(fake.requests) == 2
