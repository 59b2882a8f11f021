import numpy as np
import pytest

from g3n_cli.errors import InputError, UsageError
from g3n_cli.media.audio import read_audio, split_at_quiet
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.parts import TextPart
from g3n_cli.media.source import Source
from tests.media_files import encode_float_wav, encode_video, encode_wav, make_tone, set_wav_length

RATE = 16_000


def read(content, **options):
    attachment = read_audio(Source.of_bytes(content), MediaOptions(**options))
    return [part.values for part in attachment.media]


def test_mono_sound_of_the_right_rate_is_kept_as_it_is():
    tone = make_tone(0.5)
    (samples,) = read(encode_wav(tone))
    assert samples.dtype == np.float32
    assert np.abs(samples - tone).max() < 1e-4


def test_channels_are_averaged():
    left = make_tone(0.5)
    both = np.stack([left, np.zeros_like(left)], axis=1).ravel()
    (samples,) = read(encode_wav(both, channels=2))
    assert np.abs(samples - left / 2).max() < 1e-4


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_other_rates_are_resampled(rate):
    (samples,) = read(encode_wav(make_tone(1, rate), rate))
    assert abs(len(samples) - RATE) < 40
    middle = slice(2000, 14_000)
    assert np.abs(samples[middle] - make_tone(1)[: len(samples)][middle]).max() < 0.02


def test_only_the_wanted_time_is_taken():
    ramp = np.arange(3 * RATE) / (3 * RATE)
    (samples,) = read(encode_wav(ramp), start_s=1.0, end_s=1.5)
    assert len(samples) == RATE // 2
    assert samples[0] == pytest.approx(1 / 3, abs=1e-3)
    with pytest.raises(InputError, match="no sound after 0:07"):
        read(encode_wav(ramp), start_s=7.0)


@pytest.mark.parametrize("options", [{"end_s": 1.0, "start_s": 2.0}, {"start_s": -1.0}])
def test_times_that_make_no_sense_are_refused(options):
    with pytest.raises(UsageError):
        MediaOptions(**options)


def test_long_sound_is_split_at_quiet_places_and_all_of_it_is_there():
    sound = make_tone(70)
    for at in (27, 49):
        sound[at * RATE : (at + 1) * RATE] = 0
    attachment = read_audio(Source.of_bytes(encode_wav(sound)), MediaOptions())
    times = [part.text for part in attachment.parts if isinstance(part, TextPart)]
    assert times == ["[0:00 - 0:27]", "[0:27 - 0:49]", "[0:49 - 1:10]"]
    clips = [part.values for part in attachment.media]
    assert np.abs(np.concatenate(clips) - sound).max() < 1e-4
    assert "3 parts" in attachment.description


@pytest.mark.parametrize("n", [0, 1, 480_000, 480_001, 488_000, 496_000, 960_000, 1_500_001])
@pytest.mark.parametrize("n_block", [1000, 480_000, 2_000_000])
def test_pieces_are_short_enough_none_is_a_splinter_and_none_is_lost(n, n_block):
    sound = np.random.default_rng(n).normal(0, 0.1, n).astype(np.float32)
    blocks = (sound[i : i + n_block] for i in range(0, n, n_block))
    clips = list(split_at_quiet(blocks, RATE, 30 * RATE))
    assert np.array_equal(np.concatenate([c.samples for c in clips] or [sound]), sound)
    assert all(len(clip.samples) <= 30 * RATE for clip in clips)
    assert all(len(clip.samples) >= RATE // 2 for clip in clips[1:])


def test_sound_of_a_pipe_that_does_not_know_its_length_is_read():
    content = set_wav_length(encode_wav(make_tone(1)), 0xFFFFFFFF)
    assert len(read(content)[0]) == RATE


@pytest.mark.parametrize("n_bytes", [40_000, 4_000_000_000])
def test_a_wav_that_claims_more_than_there_is_is_refused(n_bytes):
    content = set_wav_length(encode_wav(make_tone(1)), n_bytes)
    with pytest.raises(InputError, match=f"truncated: {n_bytes:,} bytes"):
        read(content)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(value):
    tone = make_tone(1)
    tone[700] = value
    with pytest.raises(InputError, match="not numbers"):
        read(encode_float_wav(tone))


def test_too_loud_is_clipped():
    assert np.abs(read(encode_float_wav(make_tone(1, level=3)))[0]).max() == 1


def test_no_samples_is_no_sound():
    with pytest.raises(InputError, match="no sound"):
        read(encode_wav(make_tone(0)))


def test_a_video_without_sound_is_no_sound(tmp_path):
    path = encode_video(tmp_path / "v.mp4", [0] * 5)
    with pytest.raises(InputError, match="has no sound"):
        read_audio(Source.of_path(path), MediaOptions())
