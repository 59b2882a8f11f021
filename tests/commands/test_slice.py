import numpy as np
import pytest
from gguf.quants import dequantize

from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.tensors import PLE_TENSOR
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
    ("kind", "tolerance"), [("f16", 2e-3), ("q8_0", 0.01), ("q6_k", 1e-6), ("q4_0", 0.3)]
)
def test_per_layer_embeddings_can_be_retyped(g3n, kind, tolerance):
    case, out = find_case("kquant3", "q4_0"), g3n.home / "slice.gguf"
    done = g3n.run("slice", case.path, "--size", "full", "--ple-type", kind, "-o", out)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    found, wanted = (read_ple(path) for path in (out, case.path))
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()
    assert open_model(out).tensors[PLE_TENSOR].type.name == kind.upper()


def read_ple(path):
    gguf = open_model(path)
    info = gguf.tensors[PLE_TENSOR]
    raw = np.fromfile(path, np.uint8, info.n_bytes, offset=info.offset)
    return dequantize(raw.reshape(-1, info.row_bytes), info.type)


def test_rows_that_are_no_whole_blocks_are_not_retyped(g3n):
    done = g3n.run("slice", CASE.path, "--size", SIZE, "--ple-type", "q4_k", "-o", g3n.home / "x")
    assert_fails(done, 2, "no whole blocks of 256")


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


def test_a_file_that_is_there_is_replaced_only_if_asked(g3n):
    out = g3n.home / "slice.gguf"
    out.write_text("mine")
    refused = g3n.run("slice", CASE.path, "--size", SIZE, "-o", out)
    assert (refused.returncode, out.read_text()) == (2, "mine")
    assert b"--force replaces it" in refused.stderr
    assert g3n.run("slice", CASE.path, "--size", SIZE, "-o", out, "--force").returncode == 0
    assert out.read_bytes().startswith(b"GGUF")
