import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g3n_cli.engine.encoders.features import (
    HOP,
    LEAST_SAMPLES,
    N_MEL,
    compute_log_mel,
    make_mel_filters,
)
from tests.engine.encoders.audio_oracle import CLIPS, FEATURES, read_clip


@pytest.mark.parametrize("clip", CLIPS)
def test_features_are_transformers_to_the_bit(clip):
    mel = compute_log_mel(read_clip(clip))
    assert (mel.dtype, mel.shape) == (np.float32, (FEATURES[f"{clip}/n_frames"], N_MEL))
    assert np.array_equal(mel[FEATURES[f"{clip}/frames"]], FEATURES[f"{clip}/mel"])


def test_mel_filters_are_transformers():
    assert np.array_equal(make_mel_filters().astype(np.float32), FEATURES["mel_filters"])


@settings(deadline=None, max_examples=40)
@given(n=st.integers(0, 40_000))
def test_there_is_a_frame_every_hop_once_there_are_samples_for_one(n):
    mel = compute_log_mel(np.zeros(n, np.float32))
    padded = -(-n // 128) * 128
    assert len(mel) == max(0, (padded - LEAST_SAMPLES) // HOP + 1)
    assert (mel == np.float32(np.log(1e-5))).all()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), frame=st.integers(0, 40))
def test_a_frame_depends_on_its_own_samples_alone(seed, frame):
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal(8000).astype(np.float32)
    other = rng.standard_normal(8000).astype(np.float32)
    kept = slice(frame * HOP, frame * HOP + LEAST_SAMPLES)
    other[kept] = samples[kept]
    assert np.array_equal(compute_log_mel(samples)[frame], compute_log_mel(other)[frame])


def test_twice_as_loud_is_the_logarithm_of_two_more():
    samples = 0.1 * np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    quiet, loud = compute_log_mel(samples), compute_log_mel(2 * samples)
    np.testing.assert_allclose(loud - quiet, np.log(2), atol=1e-5)
