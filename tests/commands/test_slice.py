import pytest

from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.validate import open_model
from tests.commands.test_debug import write_logits
from tests.oracle import find_case
from tests.program import assert_fails

CASE = find_case("mat12", "q8_0")
SIZE = "128*6,-*3,128*3"


def test_a_slice_computes_what_its_parent_does_at_that_size(g3n):
    out = g3n.home / "slice.gguf"
    done = g3n.run("slice", CASE.path, "--size", SIZE, "-o", out)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    hparams = HParams.from_gguf(open_model(out))
    assert hparams.n_ff == (128,) * 9
    assert (hparams.n_layer_kv, hparams.n_shared_kv) == (6, 3)
    ids = CASE.load()["prompt_3"]
    alone = write_logits(g3n, out, ids, "--all")
    assert (alone == write_logits(g3n, CASE.path, ids, "--all", "--size", SIZE)).all()


@pytest.mark.parametrize(
    ("size", "part"),
    [("huge", "no size is called 'huge'"), ("128*4,-,128*7", "layer 4"), ("100*12", "100")],
)
def test_sizes_that_cannot_be_are_refused(g3n, size, part):
    out = g3n.home / "slice.gguf"
    assert_fails(g3n.run("slice", CASE.path, "--size", size, "-o", out), 2, part)
    assert not out.exists()


def test_a_model_is_not_written_over_itself(g3n):
    done = g3n.run("slice", CASE.path, "--size", "full", "-o", CASE.path)
    assert_fails(done, 2, "is the model itself")


def test_a_slice_that_cannot_be_written_leaves_nothing(g3n):
    done = g3n.run("slice", CASE.path, "--size", "full", "-o", g3n.home / "none" / "a.gguf")
    assert_fails(done, 1, "cannot write")
