"""Every failure: its exit code, one clear line on stderr, nothing on stdout."""

import struct
import subprocess
import sys

import pytest

from tests.gguf_edit import F32, U32, array, read_draft, scalar, text
from tests.model_files import SMALL8
from tests.program import assert_fails


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--no-such-flag", "hi"], "--no-such-flag"),
        (["--ctx", "0", "hi"], "--ctx must be at least 1"),
        (["--batch", "0", "hi"], "--batch must be at least 1"),
        (["--threads", "-1", "hi"], "--threads must be at least 1"),
        (["-n", "0", "hi"], "--max-tokens must be at least 1"),
        (["-n", "many", "hi"], "--max-tokens"),
        (["--kv", "q5", "hi"], "--kv"),
        (["--temp", "-1", "hi"], "--temp"),
        (["--top-p", "2", "hi"], "top"),
        (["--seed", "-1", "hi"], "--seed"),
        (["one", "two"], "two"),
        ([], "no prompt"),
        ([""], "no prompt"),
    ],
    ids=str,
)
def test_wrong_usage_is_2(g3n, arguments, part):
    assert_fails(g3n.chat(*arguments), 2, part)


@pytest.mark.parametrize("arguments", [("nope",), ("--nope",), ("debug",), ("debug", "nope")])
def test_a_wrong_command_is_2(g3n, arguments):
    assert_fails(g3n.run(*arguments), 2)


def test_a_wrong_value_in_the_environment_is_2_and_named(g3n):
    assert_fails(g3n.chat("hi", G3N_CTX="lots"), 2, "G3N_CTX")


def test_no_prompt_says_what_to_do(g3n):
    assert b'hint: try g3n chat "your question"' in g3n.chat(stdin="\n\n").stderr


def cut_off(raw):
    return raw[: len(raw) // 2]


def cut_off_in_the_header(raw):
    return raw[:5000]


def claim_2_to_the_60_tensors(raw):
    return raw[:8] + struct.pack("<Q", 2**60) + raw[16:]


def claim_2_to_the_60_keys(raw):
    return raw[:16] + struct.pack("<Q", 2**60) + raw[24:]


@pytest.mark.parametrize("command", ["chat", "show", "debug"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda _: b"GGUF",
        lambda _: b"Once upon a time there was no model here.\n" * 20,
        cut_off,
        cut_off_in_the_header,
        claim_2_to_the_60_tensors,
        claim_2_to_the_60_keys,
    ],
    ids=["empty", "magic", "text", "cut", "cut-header", "tensors", "keys"],
)
def test_a_file_that_is_no_sound_model_is_3(g3n, tmp_path, spoil, command):
    path = tmp_path / "model.gguf"
    path.write_bytes(spoil(SMALL8.read_bytes()))
    arguments = {
        "chat": ("chat", "-m", path, "hi"),
        "show": ("show", path),
        "debug": ("debug", "logits", path, "--ids", "2", "-o", tmp_path / "out.npy"),
    }[command]
    assert_fails(g3n.run(*arguments), 3, "model.gguf")
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("gemma3n.block_count", None, "gemma3n.block_count"),
        ("gemma3n.block_count", text("eight"), "gemma3n.block_count"),
        ("gemma3n.attention.sliding_window", scalar(U32, 0), "sliding_window"),
        ("gemma3n.embedding_length", scalar(U32, 77), ""),
        ("tokenizer.ggml.scores", array(F32, [0.0]), ""),
        ("general.architecture", text("gemma4000"), "gemma4000"),
        ("general.architecture", None, "general.architecture: the key is missing"),
    ],
)
@pytest.mark.parametrize("command", ["chat", "debug"])
def test_wrong_keys_of_the_architecture_are_3(g3n, tmp_path, key, value, part, command):
    draft = read_draft(SMALL8)
    draft.keys.pop(key)
    if value is not None:
        draft.keys[key] = value
    path = draft.write(tmp_path / "model.gguf")
    out = tmp_path / "out.npy"
    arguments = {
        "chat": ("chat", "-m", path, "-n", 1, "hi"),
        "debug": ("debug", "logits", path, "--ids", "2", "-o", out),
    }[command]
    assert_fails(g3n.run(*arguments), 3, part)


def test_a_model_that_is_not_there_is_3_and_close_names_are_offered(g3n):
    done = g3n.chat("-m", "smolm2", "hi")
    assert_fails(done, 3, "smolm2")
    assert b"did you mean smollm2?" in done.stderr


def test_a_folder_is_no_model(g3n, tmp_path):
    assert_fails(g3n.chat("-m", tmp_path, "hi"), 3, "is not a file")


@pytest.mark.parametrize(
    ("raw", "part"),
    [(b"GGUF\0\0\1", "binary"), (b"caf\xe9 au lait", "byte 3")],
    ids=["zeros", "latin1"],
)
def test_input_that_is_not_text_is_4(g3n, raw, part):
    assert_fails(g3n.chat("sum up", stdin=raw), 4, "standard input", part)


def test_a_prompt_longer_than_the_context_is_4_with_the_numbers(g3n):
    n_tokens = 64
    done = g3n.chat("--ctx", 20, "hello " * 50)
    assert_fails(done, 4, f"{n_tokens} tokens", "20")
    assert b"hint: --ctx" in done.stderr


def test_a_grammar_file_that_is_not_there_is_4(g3n, tmp_path):
    assert_fails(g3n.chat("--grammar", tmp_path / "no.gbnf", "hi"), 4, "no.gbnf")


def test_a_grammar_file_that_is_not_text_is_4(g3n, tmp_path):
    (tmp_path / "bad.gbnf").write_bytes(b"\xff\xfe")
    assert_fails(g3n.chat("--grammar", tmp_path / "bad.gbnf", "hi"), 4, "not UTF-8")


@pytest.mark.parametrize(
    ("grammar", "part"),
    [('answer ::= "yes"', "root"), ("root ::= other", "other")],
    ids=["rootless", "undefined"],
)
def test_a_grammar_that_means_nothing_is_2(g3n, tmp_path, grammar, part):
    path = tmp_path / "wrong.gbnf"
    path.write_text(grammar)
    assert_fails(g3n.chat("--grammar", path, "-n", 3, "hi"), 2, "grammar", part)


def test_a_full_disk_behind_stdout_is_1(g3n):
    with (
        open("/dev/full", "wb") as full,
        g3n.start("chat", "-m", SMALL8, "-n", 3, "hi", stdout=full) as process,
    ):
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.decode().splitlines() == ["error: No space left on device"]


def test_a_limit_of_memory_is_told_as_one(tmp_path):
    path = tmp_path / "large.gguf"
    with path.open("wb") as file:
        file.write(b"GGUF")
        file.truncate(64 << 30)  # takes no room on the disk
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
        "from g3n_cli.app import run\n"
        f"sys.exit(run(['show', {str(path)!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert_fails(done, 5, "not enough memory to map")
    assert b"ulimit -v" in done.stderr


def test_a_thread_that_the_system_refuses_is_a_lack_of_memory():
    """While weights are read, by threads of their own: what the system says is made to happen."""
    code = (
        "import sys, threading\n"
        "from g3n_cli.app import run\n"
        "start = threading.Thread.start\n"
        "def refuse(thread):\n"
        "    if thread.name.startswith('ThreadPool'):\n"
        '        raise RuntimeError("can\'t start new thread")\n'
        "    start(thread)\n"
        "threading.Thread.start = refuse\n"
        f"sys.exit(run(['chat', '--no-save', '-m', {str(SMALL8)!r}, 'hi']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert_fails(done, 5, "not enough memory")
