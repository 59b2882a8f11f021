import mmap

import pytest

from g3n_cli.bench.page_cache import chill, warm
from g3n_cli.errors import G3nError
from g3n_cli.ggml.libc import count_cached_bytes


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"x" * (100 * mmap.PAGESIZE + 7))
    return path


def test_a_file_is_warmed_and_chilled(model):
    warm(model)
    assert count_cached_bytes(model) == model.stat().st_size
    chill(model)
    assert count_cached_bytes(model) == 0


def test_a_file_that_stays_in_memory_is_not_called_cold(model):
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
        assert sum(mapping[:: mmap.PAGESIZE]) > 0
        with pytest.raises(G3nError, match="stays in the page cache"):
            chill(model)


def test_an_empty_file_has_nothing_cached(tmp_path):
    (tmp_path / "empty").touch()
    assert count_cached_bytes(tmp_path / "empty") == 0
