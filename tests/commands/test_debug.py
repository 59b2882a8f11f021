import numpy as np
import pytest

from g3n_cli.commands.debug import parse_ids
from g3n_cli.errors import UsageError
from tests.oracle import find_case
from tests.program import assert_fails
from tests.tiny_llama import make_llama

CASE = find_case("small8", "f32")
N_VOCAB = 512


def write_logits(g3n, model, ids, *arguments):
    out = g3n.home / "out.npy"
    listed = ",".join(map(str, ids))
    done = g3n.run("debug", "logits", model, "--ids", listed, "-o", out, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    return np.load(out)


@pytest.mark.parametrize("flags", [(), ("--ple", "ram", "--no-repack", "--kv", "f32")], ids=str)
def test_all_logits_are_the_oracles(g3n, flags):
    oracle = CASE.load()
    logits = write_logits(g3n, CASE.path, oracle["prompt_3"], "--all", *flags)
    assert (logits.shape, logits.dtype) == ((len(oracle["prompt_3"]), N_VOCAB), np.float32)
    np.testing.assert_allclose(logits, oracle["logits_3"], atol=3e-2)


def test_without_all_only_the_last_position_is_written(g3n):
    oracle = CASE.load()
    logits = write_logits(g3n, CASE.path, oracle["prompt_3"])
    assert (logits.shape, logits.dtype) == ((1, N_VOCAB), np.float32)
    np.testing.assert_allclose(logits[0], oracle["logits_3"][-1], atol=3e-2)


def test_another_architecture_works_too(g3n):
    path = make_llama().write(g3n.home / "llama.gguf")
    every = write_logits(g3n, path, [1, 70, 80, 90], "--all")
    assert (every.shape[0], every.dtype) == (4, np.float32)
    last = write_logits(g3n, path, [1, 70, 80, 90])
    assert last.shape == (1, every.shape[1])
    np.testing.assert_allclose(last[0], every[-1], atol=1e-3)


@pytest.mark.parametrize(
    ("ids", "code", "part"),
    [
        ("2,ten", 2, "--ids"),
        ("", 2, "--ids"),
        ("2,", 2, "--ids"),
        ("2,512", 4, "token 512 is not one of the 512"),
        ("2,-1", 4, "token -1"),
        ("2,3,4,5,6", 4, "5 tokens"),
    ],
)
def test_ids_that_make_no_sense_are_refused(g3n, ids, code, part):
    out = g3n.home / "out.npy"
    done = g3n.run("debug", "logits", CASE.path, f"--ids={ids}", "-o", out, "--ctx", 4)
    assert_fails(done, code, part)
    assert not out.exists()


@pytest.mark.parametrize("out", ["no/such/folder/out.npy", "."])
def test_a_file_that_cannot_be_written_is_1(g3n, out):
    out = g3n.home / out
    done = g3n.run("debug", "logits", CASE.path, "--ids", "2,10", "-o", out)
    assert_fails(done, 1, "cannot write", str(out))


def test_ids_may_have_spaces():
    assert parse_ids("2, 10,11 ") == [2, 10, 11]


def test_ids_that_are_no_numbers_are_named():
    with pytest.raises(UsageError, match="'2,x'"):
        parse_ids("2,x")
