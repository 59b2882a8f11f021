"""The Python API, with the model that comes with g3n."""

import gc

import psutil
import pytest

import g3n_cli
from g3n_cli import AnswerOptions, Chat, EngineSettings, G3nError
from tests.program import Program

GREEDY = AnswerOptions(seed=0, temp=0)


def test_answers_are_those_of_the_command(tmp_path):
    question = "what does moon mean?"
    with Chat(options=GREEDY) as chat:
        answer = chat.ask(question)
        assert [(turn.user, turn.text) for turn in chat.turns] == [(question, answer)]
        assert chat.stats.output_tokens == len(chat.turns[0].ids)
        follow_up = "".join(chat.stream("and a synonym?"))
        assert [turn.text for turn in chat.turns] == [answer, follow_up]
        assert chat.stats.reused_tokens > 0
    said = Program(tmp_path).run("chat", "--temp", "0", question).stdout.decode()
    assert said == answer + "\n"


def test_leaving_a_stream_keeps_what_was_said():
    with Chat(options=GREEDY) as chat:
        for piece in chat.stream("what does moon mean?"):
            first = piece
            break
        assert chat.turns[0].text == first
        assert chat.stats.stop_reason == "interrupted"
        chat.undo()
        assert chat.turns == ()


def test_another_draw_another_answer():
    with Chat(options=AnswerOptions(seed=3, temp=2.0, top_k=0, top_p=1.0)) as chat:
        answers = {chat.ask("tell me about water"), *(chat.regenerate() for _ in range(3))}
        assert len(chat.turns) == 1
    assert len(answers) > 1


def test_settings_size_system_stop_and_files(tmp_path):
    (tmp_path / "note.txt").write_text("moon")
    settings = EngineSettings(n_ctx=512, size="small")
    with Chat("g3n-mini", settings=settings, options=GREEDY, stop=["the"]) as chat:
        assert chat.size == "small"
        assert "the" not in chat.ask("what does this mean?", files=[tmp_path / "note.txt"])
        chat.resize("full")
        assert chat.size == "full"
        chat.options = AnswerOptions(seed=0, temp=0, max_tokens=1)
        chat.ask("what does sun mean?")
        assert chat.stats.output_tokens == 1


def test_one_file_needs_no_list(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("moon")
    with Chat(options=GREEDY) as chat:
        for files in ([path], path, str(path)):
            chat.ask("what is it?", files)
            assert [each.name for each in chat.turns[-1].attachments] == [str(path)]
        chat.clear()
        with pytest.raises(G3nError, match="no prompt"):
            chat.ask("  ", path)
        assert chat.turns == ()


@pytest.mark.parametrize("arguments", [{"model": "no such"}, {"stop": [""]}, {"mmproj": "none"}])
def test_faults_are_errors_with_one_line(arguments):
    with pytest.raises(G3nError) as found:
        Chat(**arguments)
    assert "\n" not in found.value.message


def test_a_closed_chat_gives_the_model_back():
    def use() -> int:
        with Chat(options=GREEDY) as chat:
            chat.ask("hello")
        gc.collect()
        return psutil.Process().memory_info().rss

    use()
    before = use()
    for _ in range(5):
        after = use()
    assert after - before < 16e6  # the model takes more


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'Talk'"):
        g3n_cli.Talk  # noqa: B018
