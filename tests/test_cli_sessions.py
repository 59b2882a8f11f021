"""Saved conversations, as a person and a script meet them."""

import hashlib
import json
from contextlib import closing

import pytest

from g3n_cli.chat.store import SessionStore
from tests.model_files import SMALL8
from tests.program import assert_fails

ASK = ("chat", "-m", SMALL8, "-n", "4", "--temp", "0")


@pytest.fixture
def said(g3n):
    """A home in which two conversations were saved."""
    g3n.run(*ASK, "first question")
    g3n.run(*ASK, "--session", "rome", "second <b>question</b>")
    return g3n


def listed(g3n):
    return json.loads(g3n.run("sessions", "list", "--json").stdout)


def test_single_answers_are_saved_and_gone_on_with(said):
    assert [info["title"] for info in listed(said)] == [
        "second <b>question</b>",
        "first question",
    ]
    run = said.run(*ASK, "--session", "1", "and then?")
    assert run.returncode == 0
    run = said.run(*ASK, "-c", "and now?")
    assert b"Conversation 1, 2 turns: first question" in run.stderr
    assert [info["n_turns"] for info in listed(said)] == [3, 1]
    users = [
        t["user"] for t in json.loads(said.run("sessions", "show", "1", "--json").stdout)["turns"]
    ]
    assert users == ["first question", "and then?", "and now?"]


def test_an_answer_that_goes_on_is_the_one_of_the_whole_conversation(g3n):
    """The second answer knows the first turn: it differs from that of a new conversation."""
    g3n.run(*ASK, "--session", "a", "one two three")
    going_on = g3n.run(*ASK, "--session", "a", "--json", "four")
    fresh = g3n.run(*ASK, "--no-save", "--json", "four")
    assert json.loads(going_on.stdout)["prompt_tokens"] > json.loads(fresh.stdout)["prompt_tokens"]


def test_files_of_earlier_messages_are_read_again(g3n, tmp_path):
    note = tmp_path / "notes.txt"
    note.write_text("a note " * 20)
    assert g3n.run(*ASK, "-f", note, "question").returncode == 0
    (file,) = json.loads(g3n.run("sessions", "show", "1", "--json").stdout)["turns"][0]["files"]
    digest = hashlib.sha256(note.read_bytes()).hexdigest()
    assert (file["path"], file["kind"], file["sha256"]) == (str(note), "text", digest)
    assert f"**You** ({note})" in g3n.run("sessions", "show", "1").stdout.decode()

    with_it = g3n.run(*ASK, "-c", "--json", "and?")
    assert (with_it.returncode, b"warning" in with_it.stderr) == (0, False)
    note.write_text("another " * 20)
    changed = g3n.run(*ASK, "-c", "--json", "and?")
    assert f"warning: {note} has changed; its message goes on as text alone" in (
        changed.stderr.decode()
    )
    note.unlink()
    gone = g3n.run(*ASK, "-c", "and?")
    assert f"warning: {note} is not there any more" in gone.stderr.decode()
    n_with, n_without = (json.loads(run.stdout)["prompt_tokens"] for run in (with_it, changed))
    assert n_with > n_without


def test_what_was_piped_in_is_named_when_a_conversation_goes_on(g3n):
    assert g3n.run(*ASK, "-f", "-", "question", stdin="a note").returncode == 0
    assert b"warning: standard input was not kept" in g3n.run(*ASK, "-c", "and?").stderr


@pytest.mark.parametrize("text", ["question \udcff", "\udcff"])
def test_a_message_that_is_no_text_is_refused(g3n, text):
    assert_fails(g3n.run(*ASK, text), 4, "the message is not UTF-8 text")
    assert_fails(g3n.run(*ASK, "hi", "-s", text), 4, "the system text is not UTF-8 text")
    assert listed(g3n) == []


def test_what_is_not_to_be_saved_is_not(g3n):
    assert g3n.run(*ASK, "--no-save", "question").returncode == 0
    assert g3n.run(*ASK, "question", G3N_NO_SAVE="1").returncode == 0
    assert not (g3n.home / "data" / "g3n" / "chats.db").exists()


def test_a_data_folder_that_cannot_be_written_costs_a_warning(g3n):
    (g3n.home / "data").mkdir()
    (g3n.home / "data" / "g3n").write_text("not a folder")
    run = g3n.run(*ASK, "question")
    assert run.returncode == 0
    assert run.stdout
    assert b"warning: the conversation is not saved" in run.stderr
    assert g3n.run(*ASK, "-c", "question").returncode == 1


def test_list_search_show_export_rename_rm(said, tmp_path):
    assert b"rome: second <b>question</b>" in said.run("sessions", "list").stdout
    assert len(said.run("sessions", "list", "-n", "1").stdout.splitlines()) == 1
    assert said.run("sessions", "search", "first", "question").stdout.startswith(b"    1  turn 1")
    assert said.run("sessions", "search", "nowhere").stdout == b""
    assert b"**You**\n\nsecond <b>question</b>" in said.run("sessions", "show", "rome").stdout
    page = tmp_path / "rome.html"
    assert said.run("sessions", "export", "rome", "-o", page).returncode == 0
    assert "second &lt;b&gt;question&lt;/b&gt;" in page.read_text()
    assert said.run("sessions", "rename", "rome", "paris").returncode == 0
    assert said.run("sessions", "rm", "1", "paris").returncode == 0
    assert listed(said) == []


@pytest.mark.parametrize(
    ("ending", "begin"), [("htm", "<!doctype html>"), ("HTML", "<!doctype html>"), ("json", "{")]
)
def test_the_ending_of_a_file_says_how_it_is_written(said, tmp_path, ending, begin):
    page = tmp_path / f"rome.{ending}"
    assert said.run("sessions", "export", "rome", "-o", page).returncode == 0
    assert page.read_text().startswith(begin)


def test_an_ending_that_says_nothing_is_refused_unless_the_format_is_named(said, tmp_path):
    page = tmp_path / "rome.txt"
    done = said.run("sessions", "export", "rome", "-o", page)
    assert (done.returncode, page.exists()) == (2, False)
    assert b"no format belongs to the ending .txt" in done.stderr
    assert said.run("sessions", "export", "rome", "-o", page, "--format", "md").returncode == 0
    assert "**You**" in page.read_text()


def test_a_search_shows_the_name_of_a_conversation(said):
    assert b"  rome: " in said.run("sessions", "search", "second").stdout
    (hit,) = json.loads(said.run("sessions", "search", "second", "--json").stdout)
    assert hit["name"] == "rome"


@pytest.mark.parametrize("words", ["sessions show", "sessions rm", "chat --session"])
@pytest.mark.parametrize(("begun", "offered"), [("ro", b"rome"), ("1", b"1")])
def test_conversations_are_completed(said, words, begun, offered):
    line = f"g3n {words} {begun}"
    at = str(len(line.split()) - 1)
    done = said.run(_G3N_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=at)
    assert done.stdout.split() == [offered]


@pytest.mark.parametrize("form", ["md", "json", "html"])
def test_a_message_that_has_no_answer_yet_is_exported(g3n, form):
    with closing(SessionStore(g3n.home / "data" / "g3n" / "chats.db")) as store:
        store.add_turn(store.begin("model", ""), 0, "unanswered question", "model")
    assert b"unanswered question" in g3n.run("sessions", "export", "1", "--format", form).stdout


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("sessions", "show", "5"), "no saved conversation is called '5'"),
        (("sessions", "rm"), "which conversations?"),
        (("sessions", "rm", "--all", "1"), "which conversations?"),
        (("sessions", "export", "1", "--format", "pdf"), "--format must be md, json or html"),
        ((*ASK, "-c", "question"), "no conversation is saved yet"),
        ((*ASK, "-c", "--no-save", "question"), "--continue goes on saving"),
        ((*ASK, "-c", "--session", "x", "question"), "exclude each other"),
        ((*ASK, "--session", "12", "question"), "'12' is no name"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(g3n, arguments, fault):
    run = g3n.run(*arguments)
    assert run.returncode == 2
    assert fault in run.stderr.decode()
    assert run.stderr.count(b"error:") == 1
    assert run.stdout == b""
