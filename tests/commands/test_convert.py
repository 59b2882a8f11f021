import numpy as np
import pytest

from g3n_cli.engine.gguf import GgufFile
from tests.commands.test_debug import write_logits
from tests.convert.checkpoints import CHECKPOINT, DATA
from tests.program import assert_fails


def test_a_converted_model_chats(g3n):
    out = g3n.home / "gemma.gguf"
    done = g3n.run("convert", CHECKPOINT, "-o", out, "--type", "f32")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    answer = g3n.chat("-m", out, "--max-tokens", "4", "--json", "what time is it?")
    assert answer.returncode == 0, answer.stderr
    with np.load(DATA / "logits.npz") as arrays:
        found = write_logits(g3n, out, arrays["prompt_0"], "--all")
        assert np.abs(found - arrays["logits_0"]).max() <= 3e-2


@pytest.mark.parametrize(
    ("name", "options", "architecture", "file_type"),
    [
        ("gemma.gguf", [], "gemma3n", 2),
        ("mmproj.gguf", [], "clip", 1),
        ("mmproj-Q8.gguf", ["--type", "q8_0"], "clip", 7),
        ("eyes.gguf", ["--mmproj"], "clip", 1),
        ("mmproj.gguf", ["--text", "--type", "bf16"], "gemma3n", 32),
    ],
)
def test_name_and_options_choose_what_is_made(g3n, name, options, architecture, file_type):
    done = g3n.run("convert", CHECKPOINT, "-o", g3n.home / name, *options)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    gguf = GgufFile.open(g3n.home / name)
    assert (gguf.architecture, gguf.metadata["general.file_type"]) == (architecture, file_type)


def test_a_file_is_replaced_only_by_force(g3n):
    out = g3n.home / "gemma.gguf"
    out.write_text("mine")
    assert_fails(g3n.run("convert", CHECKPOINT, "-o", out), 2, "exists")
    assert out.read_text() == "mine"
    assert g3n.run("convert", CHECKPOINT, "-o", out, "--force").returncode == 0
    assert GgufFile.open(out).architecture == "gemma3n"


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["nowhere", "-o", "x.gguf"], 2, "nowhere is neither a folder nor a file"),
        ([CHECKPOINT, "-o", "mmproj.gguf", "--type", "q4_0"], 2, "--mmproj has no type q4_0"),
        ([CHECKPOINT / "config.json", "-o", "x.gguf"], 3, "not a usable GGUF file"),
        ([DATA, "-o", "x.gguf"], 3, "config.json"),
        ([CHECKPOINT, "-o", "none/x.gguf"], 1, "cannot write"),
    ],
)
def test_what_cannot_be_converted_is_said_in_one_line(g3n, arguments, code, part):
    source, flag, output, *options = arguments
    done = g3n.run("convert", source, flag, g3n.home / output, *options)
    assert_fails(done, code, part)
    assert not (g3n.home / output).exists()


def test_a_model_is_no_projector_to_repair(g3n):
    out = g3n.home / "gemma.gguf"
    assert g3n.run("convert", CHECKPOINT, "-o", out).returncode == 0
    done = g3n.run("convert", out, "-o", g3n.home / "mmproj.gguf")
    assert_fails(done, 3, "is not a projector file of Gemma 3n")
    done = g3n.run("convert", out, "-o", g3n.home / "mmproj.gguf", "--type", "f16")
    assert_fails(done, 2, "can only be repaired")
    assert_fails(g3n.run("convert", out, "-o", out, "--force"), 2, "is the source itself")
