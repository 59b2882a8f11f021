import gguf
import numpy as np
import pytest

from g3n_cli.engine.ple import N_WARM_ROWS, PleTable
from g3n_cli.engine.validate import open_model
from g3n_cli.errors import ModelError
from tests.oracle import find_case

NAME = "per_layer_token_embd.weight"


@pytest.fixture(params=["f32", "q8_0"])
def path(request):
    return find_case("odd7", request.param).path


def stored_rows(path):
    tensor = next(t for t in gguf.GGUFReader(path).tensors if t.name == NAME)
    return tensor.data.reshape(int(tensor.shape[1]), -1).view(np.uint8)


@pytest.mark.parametrize("mode", ["disk", "ram"])
def test_rows_are_those_of_the_file(path, mode):
    table = PleTable(path, open_model(path).tensors[NAME], mode)
    ids = np.array([3, 511, 0, 3, 77], np.int32)
    table.prefetch(ids)
    for _ in range(2):
        assert np.array_equal(table.read(ids), stored_rows(path)[ids])
    table.close()
    table.close()


def test_warm_rows_are_bounded_and_the_oldest_goes_first(path, monkeypatch):
    monkeypatch.setattr("g3n_cli.engine.ple.N_WARM_ROWS", 4)
    table = PleTable(path, open_model(path).tensors[NAME], "disk")
    stored = stored_rows(path)
    for ids in ([1, 2, 3, 4], [1], [5], [2], [1]):
        assert np.array_equal(table.read(np.array(ids, np.int32)), stored[ids])
    assert (table.counters.hits, table.counters.misses) == (2, 6)
    table.close()


def test_file_cut_short_while_in_use_is_one_clear_error(path, tmp_path):
    copy = tmp_path / "model.gguf"
    copy.write_bytes(path.read_bytes())
    info = open_model(copy).tensors[NAME]
    table = PleTable(copy, info, "disk")
    with copy.open("r+b") as file:
        file.truncate(info.offset + 100)
    with pytest.raises(ModelError, match="shorter"):
        table.read(np.array([400], np.int32))
    table.close()


def test_cache_is_small_beside_the_real_table():
    assert N_WARM_ROWS * 7350 < 8e6
