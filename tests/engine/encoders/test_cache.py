"""Rows on disk: the same ones, or none."""

import os

import numpy as np
import pytest

from g3n_cli.engine.encoders.cache import RowsCache, identify_file, make_key
from g3n_cli.errors import ModelError


def make_rows(seed=0, n=4):
    return np.random.default_rng(seed).standard_normal((n, 8), np.float32)


def entry_bytes(folder):
    cache = RowsCache(folder)
    cache.store("probe", make_rows())
    return (folder / "probe.rows").stat().st_size


def test_rows_come_back_to_the_last_bit(tmp_path):
    RowsCache(tmp_path / "made" / "when needed").store("a", make_rows())
    found = RowsCache(tmp_path / "made" / "when needed").find("a")
    assert found.dtype == np.float32
    assert np.array_equal(found, make_rows())
    found[0, 0] = 1.0  # the caller's own


def test_what_was_not_stored_is_not_found(tmp_path):
    assert RowsCache(tmp_path).find("a") is None
    assert RowsCache(tmp_path / "absent").find("a") is None


def test_only_the_owner_can_read_entries(tmp_path):
    folder = tmp_path / "rows"
    RowsCache(folder).store("a", make_rows())
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("at", [0, 9, 13, 20, 60, -1])
def test_an_entry_with_a_changed_byte_is_ignored_and_removed(tmp_path, at):
    cache = RowsCache(tmp_path)
    cache.store("a", make_rows())
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert cache.find("a") is None
    assert not path.exists()


@pytest.mark.parametrize("n", [0, 1, 47, 48, 60, 175])
def test_an_entry_that_was_cut_off_is_ignored(tmp_path, n):
    cache = RowsCache(tmp_path)
    cache.store("a", make_rows())
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:n])
    assert cache.find("a") is None


def test_what_was_used_longest_ago_goes_first(tmp_path):
    size = entry_bytes(tmp_path / "probe")
    cache = RowsCache(tmp_path / "rows", 2 * size)
    for age, key in ((300, "a"), (200, "b")):
        cache.store(key, make_rows())
        path = tmp_path / "rows" / f"{key}.rows"
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert cache.find("a") is not None  # now b is the one not used for longest
    cache.store("c", make_rows())
    assert cache.find("b") is None
    assert cache.find("a") is not None
    assert cache.find("c") is not None


def test_what_exceeds_the_limit_alone_is_not_kept(tmp_path):
    cache = RowsCache(tmp_path, 100)
    cache.store("a", make_rows())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_empty_cache(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = RowsCache(tmp_path / "file" / "rows")
    cache.store("a", make_rows())
    assert cache.find("a") is None


def test_keys_tell_content_shape_and_encoder_apart():
    pixels = np.zeros((4, 2, 3), np.uint8)
    other = pixels.copy()
    other[3, 1, 2] = 1
    keys = {
        make_key(pixels, "x"),
        make_key(other, "x"),
        make_key(pixels.reshape(2, 4, 3), "x"),
        make_key(pixels.astype(np.int8), "x"),
        make_key(pixels, "y"),
    }
    assert len(keys) == 5
    assert make_key(pixels.copy(), "x") == make_key(pixels, "x")


@pytest.mark.parametrize("size", [0, 1, 4096, 100_000])
def test_a_copy_is_the_same_file_and_a_longer_one_is_not(tmp_path, size):
    content = np.random.default_rng(size).bytes(size)
    a, b, c = (tmp_path / name for name in "abc")
    a.write_bytes(content)
    b.write_bytes(content)
    c.write_bytes(content + b"x")
    assert identify_file(a) == identify_file(b) != identify_file(c)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="cannot read"):
        identify_file(tmp_path / "absent")
