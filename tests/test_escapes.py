"""Nothing that a stranger has written drives the terminal: files, names, metadata, answers."""

import os
import re

import pexpect
import pytest

from tests.gguf_edit import STRING, array, read_draft, text
from tests.model_files import SMALL8
from tests.program import COMMAND, ROOT, make_environment

pytestmark = pytest.mark.filterwarnings("ignore:.*forkpty:DeprecationWarning")

EVIL = "\x1b[77;7mX\x07\x9b5m\u202e\x08\r"
"""Colour, bell, another introducer of sequences, reversed text, and ways back over what stands."""

DRIVES = re.compile(rb"\x1b\[77|[\x07\x08]|\xc2\x9b|\xe2\x80\xae")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home full of what strangers may have written."""
    home = tmp_path_factory.mktemp("home")
    (home / "config" / "g3n").mkdir(parents=True)
    make_evil_model(home / f"evil{EVIL}.gguf")
    (home / "config" / "g3n" / "templates").mkdir()
    (home / "config" / "g3n" / "templates" / f"t{EVIL}.toml").write_text(f"prompt = '{EVIL}'")
    (home / f"note{EVIL}.txt").write_text(f"a note {EVIL}")
    return home


def make_evil_model(path):
    draft = read_draft(SMALL8)
    for key in ("general.name", "general.author", "general.license", "general.description"):
        draft.keys[key] = text(f"name {EVIL}")
    draft.keys[f"key {EVIL}"] = text(EVIL)
    draft.keys["general.tags"] = array(STRING, [EVIL])
    draft.write(path)


MODEL = f"evil{EVIL}.gguf"
BENCH = ("bench", "-m", MODEL, "-t", "1", "-p", "8", "-n", "1", "-r", "1")
CHAT = ("chat", "-m", MODEL, "-n", "24", "--temp", "0")
COMMANDS = [
    (*CHAT, "--session", f"n{EVIL}", "hi"),
    (*CHAT, f"a question {EVIL}"),
    (*CHAT, "--stats", "-f", f"note{EVIL}.txt", f"{EVIL}"),
    (*CHAT, "-c", "--json", "-s", EVIL, "and?"),
    ("chat", "-m", f"none{EVIL}", "hi"),
    ("chat", "--device", f"d{EVIL}", "hi"),
    ("chat", "--device", f"http://h{EVIL}/v1", "hi"),
    ("chat", f"--{EVIL}"),
    (EVIL,),
    ("sessions", "list"),
    ("sessions", "list", "--json"),
    ("sessions", "search", "question"),
    ("sessions", "search", "note", "--json"),
    ("sessions", "show", "1"),
    ("sessions", "show", "1", "--json"),
    ("sessions", "export", "1", "--format", "html"),
    ("sessions", "show", EVIL),
    ("sessions", "rename", "1", EVIL),
    ("show", MODEL),
    ("show", MODEL, "--json"),
    ("verify", MODEL),
    ("verify", f"note{EVIL}.txt"),
    ("estimate", MODEL),
    ("estimate", MODEL, "--json"),
    ("list",),
    ("list", "--all", "--json"),
    ("rm", MODEL),
    ("pull", f"hf:a{EVIL}:b.gguf", "--offline"),
    BENCH,
    (*BENCH, "-o", "md"),
    (*BENCH, "-o", "json"),
    (*BENCH, "--ab", "prefill=skip,full"),
    ("bench", "history"),
    ("bench", "compare", f"note{EVIL}.txt", f"none{EVIL}"),
    ("quality", MODEL, "--context", "24", "--measured", "8", "--vary", f"model={MODEL}"),
    ("quality", MODEL, "--vary", EVIL),
    ("slice", MODEL, "--size", EVIL, "-o", "x.gguf"),
    ("transcribe", f"note{EVIL}.txt"),
    ("convert", f"none{EVIL}", "-o", f"x{EVIL}.gguf"),
    ("templates", "list"),
    ("templates", "show", f"t{EVIL}"),
    ("templates", "show", EVIL),
    ("templates", "path", EVIL),
    ("chat", "-t", EVIL, "hi"),
    ("chat", "-t", f"t{EVIL}", "-p", EVIL, "hi"),
    ("config",),
    ("privacy",),
    ("clean", "--what", EVIL),
    ("debug", "logits", MODEL, "--help"),
]


def run_in_terminal(home, arguments):
    """All that comes, of answers and of the rest, as a terminal would get it."""
    environment = make_environment(home, G3N_SYSTEM=f"s{EVIL}")
    environment["PYTHONPATH"] = str(ROOT)
    child = pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], *arguments],
        cwd=str(home),
        env=environment,
        timeout=60,
        dimensions=(24, 400),
    )
    child.expect(pexpect.EOF)
    child.close()
    return child.before


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda each: ascii(" ".join(each))[:60])
def test_a_terminal_is_not_driven(home, arguments):
    shown = run_in_terminal(home, arguments)
    assert shown
    assert not (found := DRIVES.search(shown)), shown[max(0, found.start() - 80) : found.end()]


def test_a_conversation_is_safe_too(home):
    """Its input line may move the cursor as it likes, but not as a stranger says."""
    child = pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], "chat", "-m", MODEL, "-n", "8"],
        cwd=str(home),
        env={**make_environment(home), "PYTHONPATH": str(ROOT)},
        timeout=60,
        dimensions=(24, 400),
    )
    shown = b""
    for line, answer in (("hi", "tokens"), ("/sessions", "  1 "), ("/save", "Kept as it goes")):
        child.expect("Ask something")  # what comes before the input line is there can be lost
        shown += child.before + child.after
        child.send(f"{line}\r")
        child.expect(answer)
        shown += child.before + child.after
    child.send("/exit\r")
    child.expect(pexpect.EOF)
    shown += child.before
    assert not re.search(rb"\x1b\[77|\xc2\x9b|\xe2\x80\xae", shown)


@pytest.mark.parametrize("name", ["config.toml", "models.toml"])
@pytest.mark.parametrize(
    "content", [f'[chat]\n"x{EVIL}" = 1\n', f'["m{EVIL}"]\npath = "x"\n', EVIL]
)
def test_settings_of_strangers_do_not_drive_it_either(home, name, content):
    path = home / "config" / "g3n" / name
    escaped = content.replace(EVIL, EVIL.encode("unicode_escape").decode().replace("\\x", "\\u00"))
    path.write_text(content if content == EVIL else escaped)
    try:
        for arguments in (("list", "--all"), (*CHAT, "hi")):
            assert not DRIVES.search(run_in_terminal(home, arguments))
    finally:
        os.unlink(path)
