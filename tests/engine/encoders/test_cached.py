"""Encoding once: the second question about a picture opens no encoder."""

from functools import partial

import numpy as np
import pytest

from g3n_cli.engine.encoders.cache import RowsCache
from g3n_cli.engine.encoders.cached import CachedEncoder
from g3n_cli.engine.encoders.open import Projector
from g3n_cli.errors import InputError
from tests.engine.encoders.test_vision import EXACT, F16_FILE, REFERENCE, read_picture
from tests.fake_encoder import FakeEncoder

PICTURE = np.zeros((4, 4, 3), np.uint8)


@pytest.fixture
def log():
    return []


@pytest.fixture
def open_cached(tmp_path, log):
    """A cached encoder as a process opens it, with what lies on disk alone."""
    path = tmp_path / "weights"
    path.write_bytes(b"weights")

    def open_(n_embd=8, name="a"):
        open_encoder = partial(FakeEncoder, "image", n_embd, log)
        return CachedEncoder(path, name, open_encoder, RowsCache(tmp_path / "rows"))

    return open_


def test_what_was_encoded_is_not_encoded_again(open_cached, log):
    first, second = open_cached(), open_cached()
    rows = first.encode(PICTURE)
    first.close()
    assert np.array_equal(second.encode(PICTURE), rows)
    assert np.array_equal(second.end_row, first.end_row)
    assert np.array_equal(second.pad_row, first.pad_row)
    second.close()
    assert log == ["open image", "encode image", "close image"]


def test_other_pictures_sizes_and_encoders_are_encoded(open_cached, log, tmp_path):
    encoder = open_cached()
    for values in (PICTURE, PICTURE + 1, PICTURE.reshape(2, 8, 3)):
        encoder.encode(values)
    assert log.count("encode image") == 3
    open_cached(name="b").encode(PICTURE)
    (tmp_path / "weights").write_bytes(b"other weights")
    assert open_cached(n_embd=4).encode(PICTURE).shape == (4, 4)
    assert log.count("encode image") == 5


def test_what_cannot_be_encoded_is_not_kept(open_cached, log):
    for _ in range(2):
        with pytest.raises(InputError):
            open_cached().encode(np.full((2, 2, 3), np.nan))
    assert "encode image" not in log


def test_a_projector_keeps_rows_of_pictures_if_it_is_told_where(tmp_path):
    picture = read_picture(64)
    for folder in (None, tmp_path, tmp_path):
        encoder = Projector(F16_FILE, 1, folder).open("image")
        np.testing.assert_allclose(encoder.encode(picture), REFERENCE["rows_64"], atol=EXACT)
        np.testing.assert_allclose(encoder.end_row, REFERENCE["hard"][0], atol=EXACT)
        encoder.close()
    assert len(list(tmp_path.glob("*.rows"))) == 2  # the picture's, and those of no picture
