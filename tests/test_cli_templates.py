"""Templates of prompts and forms of answers, as a person and a script meet them."""

import json
import os
import sys

import pytest

from tests.fake_server import say, serve
from tests.program import assert_fails

GREET = """
description = "Says hello"
system = "You speak $lang."
prompt = "Greet:\\n\\n$input"
[defaults]
lang = "English"
[settings]
temp = 0.5
max-tokens = 3
stop = ["END"]
"""


@pytest.fixture
def templates(g3n):
    """A home with the template ``greet``."""
    folder = g3n.home / "config" / "g3n" / "templates"
    folder.mkdir(parents=True)
    (folder / "greet.toml").write_text(GREET)
    return folder


def ask(g3n, *arguments, **more):
    """What a server was asked."""
    with serve(say("Hi")) as fake:
        done = g3n.run("chat", "--device", fake.url, *arguments, **more)
    assert (done.returncode, done.stdout) == (0, b"Hi\n"), done.stderr
    return fake.requests[0]


def make_editor(folder, code):
    """Settings with an editor that runs ``code`` on the file's ``path``."""
    script = folder / "editor.py"
    script.write_text(f"import pathlib, sys\npath = pathlib.Path(sys.argv[1])\n{code}\n")
    return {"VISUAL": f"'{sys.executable}' '{script}'"}


# ------------------------------------------------------------------------------------------ asking


@pytest.mark.usefixtures("templates")
def test_a_template_says_what_is_asked_and_how(g3n):
    asked = ask(g3n, "-t", "greet", "-p", "lang=French", stdin="the $lang world\n")
    assert asked["messages"] == [
        {"role": "system", "content": "You speak French."},
        {"role": "user", "content": "Greet:\n\nthe $lang world"},
    ]
    assert (asked["temperature"], asked["max_tokens"], asked["stop"]) == (0.5, 3, ["END"])


@pytest.mark.usefixtures("templates")
def test_flags_beat_templates_and_templates_the_environment_and_the_file(g3n):
    (g3n.home / "config" / "g3n" / "config.toml").write_text("[chat]\nmax-tokens = 7\ntop-k = 8\n")
    asked = ask(
        *(g3n, "-t", "greet", "--temp", "0.9", "-s", "Mine.", "x"),
        G3N_TEMP="0.1",
        G3N_SYSTEM="Theirs.",
        G3N_MAX_TOKENS="5",
    )
    assert asked["messages"][0]["content"] == "Mine."
    assert (asked["temperature"], asked["max_tokens"], asked["top_k"]) == (0.9, 3, 8)
    asked = ask(g3n, "-t", "greet", "x", G3N_SYSTEM="Theirs.")
    assert asked["messages"][0]["content"] == "You speak English."


def test_a_template_may_be_a_path_or_stand_in_the_configuration_file(g3n, templates):
    path = templates / "greet.toml"
    assert ask(g3n, "-t", path, "x")["messages"][1]["content"] == "Greet:\n\nx"
    (g3n.home / "config" / "g3n" / "config.toml").write_text('[chat]\ntemplate = "greet"\n')
    assert ask(g3n, "x")["messages"][1]["content"] == "Greet:\n\nx"


@pytest.mark.usefixtures("templates")
def test_what_is_appended_comes_after_the_input(g3n):
    asked = ask(g3n, "--append", "In one word.", "Sum up", stdin="a text")
    assert asked["messages"][0]["content"] == "Sum up\n\na text\n\nIn one word."
    asked = ask(g3n, "-t", "greet", "--append", "Now.", stdin="a text")
    assert asked["messages"][1]["content"] == "Greet:\n\na text\n\nNow."
    asked = ask(g3n, "--append", "In one word.", stdin="a text")
    assert asked["messages"][0]["content"] == "a text\n\nIn one word."


@pytest.mark.usefixtures("templates")
def test_a_template_about_files_needs_no_input(g3n, tmp_path):
    (tmp_path / "notes.txt").write_text("a note")
    asked = ask(g3n, "-t", "greet", "-f", tmp_path / "notes.txt")
    content = asked["messages"][1]["content"]
    assert "a note" in content
    assert content.endswith("Greet:")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("-t", "nowhere", "x"), "no template 'nowhere'"),
        (("-t", "greet", "-p", "tone=kind", "x"), "template greet has no variable 'tone'"),
        (("-t", "greet", "-p", "lang", "x"), "--param lang: a name, = and a value are needed"),
        (("-t", "translate", "x"), "template translate needs a value of to"),
        (("-t", "greet"), "template greet asks about an input, and there is none"),
        (("-p", "lang=French", "x"), "--param is for templates"),
        (("--num", "0", "x"), "--num"),
        (("--num", "2", "--temp", "0", "x"), "at temperature 0 all answers are the same"),
        (("-x",), "no prompt"),
    ],
)
@pytest.mark.usefixtures("templates")
def test_what_cannot_be_is_said_in_one_line(g3n, arguments, fault):
    assert_fails(g3n.chat(*arguments), 2, fault)


def test_a_broken_template_is_named_with_its_place(g3n, templates):
    path = templates / "bad.toml"
    path.write_text('prompt = "x"\n[settings]\ndevice = "http://example.org"\n')
    assert_fails(g3n.chat("-t", "bad", "x"), 2, f"{path}: [settings] device: a template may set")


def test_a_setting_of_a_template_is_checked_as_a_flag_is(g3n, templates):
    (templates / "bad.toml").write_text('prompt = "x"\n[settings]\ntop-p = 3\n')
    assert_fails(g3n.chat("-t", "bad", "x"), 2, "--top-p must be above 0 and at most 1")


PERSON = '{"type": "object", "properties": {"age": {"enum": [3, 4]}}, "required": ["age"]}'


@pytest.mark.parametrize("schema", ["age int", PERSON])
def test_a_template_says_which_document_is_wanted_unless_a_flag_does(g3n, templates, schema):
    (templates / "person.toml").write_text(f"prompt = 'Who?'\n[settings]\nschema = '{schema}'\n")
    with serve(say('{"age": 3}'), say('{"age": 5.5}'), say('{"name": "Ann"}')) as fake:
        good, bad, other = (
            g3n.run("chat", "--device", fake.url, "-t", "person", *flags)
            for flags in ((), (), ("--schema", "name"))
        )
    assert (good.returncode, good.stdout) == (0, b'{"age": 3}\n')
    assert_fails(bad, 6, "does not satisfy the schema")
    assert (other.returncode, other.stdout) == (0, b'{"name": "Ann"}\n')
    asked = fake.requests[0]["response_format"]["json_schema"]["schema"]
    assert list(asked["properties"]) == ["age"]


def test_a_template_reads_no_file_as_its_schema(g3n, templates):
    file = templates / "person.json"
    file.write_text(PERSON)
    assert g3n.chat("--schema", file, "Who?").returncode == 0
    (templates / "bad.toml").write_text(f'prompt = "x"\n[settings]\nschema = "{file}"\n')
    assert_fails(g3n.chat("-t", "bad"), 2, "template bad: schema names a file")


def test_a_template_says_which_choices_there_are_unless_a_flag_does(g3n, templates):
    (templates / "yes.toml").write_text('prompt = "x"\n[settings]\nchoice = ["yes", "a, b"]\n')
    assert g3n.chat("-t", "yes").stdout in (b"yes\n", b"a, b\n")
    assert g3n.chat("-t", "yes", "--choice", "c,d").stdout in (b"c\n", b"d\n")
    assert_fails(g3n.chat("-t", "yes", "--schema", "name"), 2, "exclude each other")
    with serve() as fake:
        done = g3n.run("chat", "--device", fake.url, "-t", "yes")
    assert_fails(done, 2, "--choice is for models on this machine, not for a server")


# --------------------------------------------------------------------------------------- templates


def test_templates_are_listed_and_shown(g3n, templates):
    listed = g3n.run("templates", "list").stdout.decode().splitlines()
    assert [line.split()[0] for line in listed] == [
        *("commit", "greet", "review", "summarise", "translate")
    ]
    assert "lang=English" in listed[1]
    found = {
        each["name"]: each for each in json.loads(g3n.run("templates", "list", "--json").stdout)
    }
    assert found["greet"]["variables"] == {"lang": "English"}
    assert found["translate"]["variables"] == {"to": None}
    assert (found["greet"]["is_bundled"], found["review"]["is_bundled"]) == (False, True)
    assert g3n.run("templates", "show", "greet").stdout.decode() == GREET
    assert json.loads(g3n.run("templates", "show", "greet", "--json").stdout) == found["greet"]
    assert g3n.run("templates", "path").stdout.decode() == f"{templates}\n"
    assert g3n.run("templates", "path", "greet").stdout.decode() == f"{templates}/greet.toml\n"


def test_a_broken_template_does_not_hide_the_others(g3n, templates):
    (templates / "bad.toml").write_text("x")
    done = g3n.run("templates", "list")
    assert done.returncode == 0
    assert b"greet" in done.stdout
    assert done.stderr.startswith(b"warning: ")
    assert b"bad.toml is not TOML" in done.stderr


def test_a_template_is_written_in_the_editor_and_checked(g3n, tmp_path):
    editor = make_editor(tmp_path, "path.write_text('prompt = \"Hello\"')")
    assert g3n.run("templates", "edit", "new", **editor).returncode == 0
    assert ask(g3n, "-t", "new")["messages"][0]["content"] == "Hello"
    editor = make_editor(tmp_path, "path.write_text(path.read_text() + '\\nfile = 3')")
    done = g3n.run("templates", "edit", "new", **editor)
    assert_fails(done, 2, "new.toml: file: means nothing here")
    assert b"hint: g3n templates edit new opens it again, g3n templates rm new" in done.stderr
    assert g3n.run("templates", "show", "new").returncode == 2  # what was written is not lost
    editor = make_editor(tmp_path, "path.write_text(path.read_text().replace('file = 3', ''))")
    assert g3n.run("templates", "edit", "new", **editor).returncode == 0


def test_bytes_that_are_no_text_are_told_after_editing(g3n, tmp_path):
    editor = make_editor(tmp_path, "path.write_bytes(bytes([255, 254]))")
    assert_fails(g3n.run("templates", "edit", "new", **editor), 2, "new.toml is not UTF-8 text")


def test_a_schema_that_is_none_is_told_after_editing(g3n, tmp_path):
    text = """prompt = "Hello"\n[settings]\nschema = "age nonsense"\n"""
    editor = make_editor(tmp_path, f"path.write_text({text!r})")
    assert_fails(g3n.run("templates", "edit", "new", **editor), 2, "template new: ")


def test_editing_a_bundled_template_makes_a_copy_and_looking_at_it_none(g3n, tmp_path):
    own = tmp_path / "config" / "g3n" / "templates" / "review.toml"
    for name in ("review", "new"):
        assert g3n.run("templates", "edit", name, **make_editor(tmp_path, "")).returncode == 0
    assert os.listdir(own.parent) == []
    editor = make_editor(tmp_path, "path.write_text(path.read_text().replace('Review', 'Read'))")
    assert g3n.run("templates", "edit", "review", **editor).returncode == 0
    assert "Read the code" in own.read_text()
    assert g3n.run("templates", "rm", "review").returncode == 0
    assert b"Review the code" in g3n.run("templates", "show", "review").stdout


@pytest.mark.parametrize(
    ("arguments", "changes", "fault"),
    [
        (("rm", "review"), {}, "you have no template 'review'"),
        (("rm", "../x"), {}, "'../x' is no name of a template"),
        (("edit", "a/b"), {}, "'a/b' is no name of a template"),
        (("show", "nowhere"), {}, "no template 'nowhere'"),
        (
            ("edit", "new"),
            {"VISUAL": "/no/editor"},
            "'/no/editor': No such file",
        ),
        (("edit", "new"), {"VISUAL": "", "EDITOR": "false"}, "failed with exit code 1"),
    ],
)
def test_what_cannot_be_done_with_templates(g3n, arguments, changes, fault):
    assert_fails(g3n.run("templates", *arguments, **changes), 2, fault)
    assert not list(g3n.home.rglob("*.toml"))


def test_names_are_completed(g3n):
    done = g3n.run(_G3N_COMPLETE="complete_bash", COMP_WORDS="g3n chat -t re", COMP_CWORD="3")
    assert done.stdout.split() == [b"review"]


# ---------------------------------------------------------------------------------------- answers


def test_a_block_of_a_servers_answer(g3n):
    with serve(say("Sure:\n\n```sh\n", "ls -l\n```\nDone.")) as fake:
        done = g3n.run("chat", "--device", fake.url, "-x", "list files")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ls -l\n", b"")
    saved = json.loads(g3n.run("sessions", "show", "1", "--json").stdout)
    assert saved["turns"][0]["answer"].endswith("Done.")


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        ((), b"a\n"),
        (("--extract-last",), b"b\n"),
        (("--no-extract",), b"```\na\n```\n\n```\nb\n```\n"),
    ],
)
def test_a_template_says_which_block_is_wanted_unless_a_flag_does(g3n, templates, flags, shown):
    (templates / "code.toml").write_text('prompt = "x"\n[settings]\nextract = true\n')
    with serve(say("```\na\n```\n\n```\nb\n```")) as fake:
        assert g3n.run("chat", "--device", fake.url, "-t", "code", *flags).stdout == shown


def test_a_server_is_asked_for_several_answers_one_by_one(g3n):
    with serve(say("a"), say("b"), say("c")) as fake:
        done = g3n.run("chat", "--device", fake.url, "--num", "3", "--seed", "7", "--json", "hi")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["text"], each["seed"]) for each in told] == [("a", 7), ("b", 8), ("c", 9)]
    assert [request["seed"] for request in fake.requests] == [7, 8, 9]
    assert all(len(request["messages"]) == 1 for request in fake.requests)


@pytest.mark.parametrize("as_template", [False, True])
def test_a_server_cannot_begin_an_answer(g3n, templates, as_template):
    (templates / "sure.toml").write_text('prompt = "x"\n[settings]\nprefix = "Sure,"\n')
    flags = ("-t", "sure") if as_template else ("--prefix", "Sure,")
    with serve() as fake:
        done = g3n.run("chat", "--device", fake.url, *flags, "hi")
    assert_fails(done, 2, "--prefix is for models on this machine, not for a server")


def test_a_prefix_is_part_of_the_answer_and_of_the_saved_conversation(g3n):
    flags = ("-n", "3", "--temp", "0", "--prefix", "one two")
    told = json.loads(g3n.chat(*flags, "--json", "hi").stdout)
    assert told["text"].startswith("one two")
    assert told["output_tokens"] == 3
    done = g3n.chat(*flags, "-c", "and?")
    assert done.stdout.startswith(b"one two")
    turns = json.loads(g3n.run("sessions", "show", "1", "--json").stdout)["turns"]
    assert [turn["answer"].startswith("one two") for turn in turns] == [True, True]


def test_several_answers_are_those_of_the_seeds_and_go_on_in_a_session(g3n):
    ask = ("-n", "6", "--temp", "1", "--session", "s", "--json")
    g3n.chat(*ask, "--seed", "1", "before")
    done = g3n.chat(*ask, "--seed", "5", "--num", "3", "hi")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["seed"] for each in told] == [5, 6, 7]
    assert len({each["text"] for each in told}) == 3
    turns = json.loads(g3n.run("sessions", "show", "s", "--json").stdout)["turns"]
    assert [turn["user"] for turn in turns] == ["before", "hi"]
    assert turns[1]["answer"] == told[2]["text"]
