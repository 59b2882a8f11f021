import contextlib
import struct
import wave

import numpy as np
import pytest

from g3n_cli.errors import InputError
from g3n_cli.media.wav import is_wav, read_wav

RATE, MOST = 16_000, 480_001


def write_wav(path, values, *, width=2, channels=1, rate=RATE):
    """Values are whole numbers; those of one byte are unsigned."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(
            b"".join(int(v).to_bytes(width, "little", signed=width > 1) for v in values)
        )
    return path


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_samples_of_any_width_lie_between_minus_one_and_one(tmp_path, width):
    largest = 1 << (8 * width - 1)
    zero = 128 if width == 1 else 0
    values = [zero - largest, zero, zero + largest // 2]
    samples = read_wav(write_wav(tmp_path / "a.wav", values, width=width), RATE, MOST)
    assert samples.dtype == np.float32
    assert samples.tolist() == [-1.0, 0.0, 0.5]


def test_channels_are_averaged(tmp_path):
    path = write_wav(tmp_path / "a.wav", [2**14, 0, 2**13, 2**13], channels=2)
    assert read_wav(path, RATE, MOST).tolist() == [0.25, 0.25]


def test_no_more_is_read_than_is_asked_for(tmp_path):
    assert read_wav(write_wav(tmp_path / "a.wav", range(100)), RATE, 7).size == 7


def test_another_rate_is_refused_with_a_way_out(tmp_path):
    path = write_wav(tmp_path / "a.wav", [0] * 10, rate=44_100)
    with pytest.raises(InputError, match="44100 samples per second, not 16000") as failure:
        read_wav(path, RATE, MOST)
    assert "ffmpeg" in failure.value.hint


def test_files_that_claim_four_gigabytes_are_read_as_far_as_they_go(tmp_path):
    path = write_wav(tmp_path / "a.wav", [1] * 1000)
    raw = bytearray(path.read_bytes())
    raw[4:8] = raw[40:44] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(raw)
    assert read_wav(path, RATE, MOST).size == 1000


@pytest.mark.parametrize("length", range(12, 46))
def test_a_file_cut_anywhere_is_refused_or_shorter(tmp_path, length):
    path = write_wav(tmp_path / "a.wav", [1] * 10)
    path.write_bytes(path.read_bytes()[:length])
    with contextlib.suppress(InputError):
        assert read_wav(path, RATE, MOST).size <= 10


@pytest.mark.parametrize("content", [b"", b"RIFF", b"hello world, all of it", b"RIFF0000AVI "])
def test_other_files_are_no_wav(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    assert not is_wav(path)


def test_what_is_no_file_is_told(tmp_path):
    for path in (tmp_path, tmp_path / "missing.wav"):
        with pytest.raises(InputError, match="is not a file"):
            is_wav(path)
