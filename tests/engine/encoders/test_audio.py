"""The audio encoder against transformers, on a tiny random model.

Tolerances are those of the oracle's description: 1e-4 in float32 arithmetic, 2e-2 where ggml rounds
activations to halves, a root of the mean square of 0.04 for Q8_0.
"""

import signal
import threading
import time

import numpy as np
import psutil
import pytest

from g3n_cli.engine.encoders.audio import open_audio_encoder
from g3n_cli.engine.encoders.open import AUDIO_POSITIONS
from g3n_cli.errors import InputError, ModelError
from g3n_cli.kernels.library import find_variants
from tests.engine.encoders.audio_oracle import (
    BF16,
    CASES,
    ENCODED_CLIPS,
    ENCODER,
    F16_FILE,
    F32_FILE,
    FEATURES,
    N_TEXT,
    Q8_0,
    make_draft,
    read_clip,
)

EXACT, HALVES = 1e-4, 2e-2
CLIP_EXACT = 1e-3
RUNS = [
    (F32_FILE, "ggml", EXACT),
    (F16_FILE, "ggml", HALVES),
    *((F16_FILE, variant, EXACT) for variant in find_variants()),
]


@pytest.fixture
def open_encoder():
    opened = []

    def open_(path, kernels="own", **options):
        opened.append(open_audio_encoder(path, 2, kernels=kernels, **options))
        return opened[-1]

    yield open_
    for encoder in opened:
        encoder.close()


@pytest.mark.parametrize(("path", "kernels", "tolerance"), RUNS, ids=str)
def test_every_case_of_the_oracle(open_encoder, path, kernels, tolerance):
    encoder = open_encoder(path, kernels)
    for case in CASES:
        mel, valid = ENCODER[f"{case}/mel"], ENCODER[f"{case}/soft_valid"]
        encoded, soft = encoder.run_conformer(mel), encoder.encode_features(mel)
        # Frames that do not count lie behind those that do, and nothing looks ahead so far.
        wanted = ENCODER[f"{case}/encoder"][valid]
        np.testing.assert_allclose(encoded[valid], wanted, atol=tolerance, err_msg=case)
        wanted = ENCODER[f"{case}/soft"][valid]
        np.testing.assert_allclose(soft[valid], wanted, atol=tolerance, err_msg=case)


@pytest.mark.parametrize("clip", ENCODED_CLIPS)
@pytest.mark.parametrize("path", [F32_FILE, F16_FILE], ids=["f32", "f16"])
def test_clips_become_transformers_soft_tokens(open_encoder, path, clip):
    soft = open_encoder(path, "own" if find_variants() else "ggml").encode(read_clip(clip))
    assert soft.dtype == np.float32
    tolerance = CLIP_EXACT if find_variants() or path == F32_FILE else HALVES
    np.testing.assert_allclose(soft, FEATURES[f"{clip}/soft"], atol=tolerance)


@pytest.mark.parametrize("kernels", ["ggml", *find_variants()])
def test_q8_0_is_as_near_as_its_rounding_allows(open_encoder, tmp_path, kernels):
    """Single values go astray as chance has it; the mean over all positions is the measure."""
    encoder = open_encoder(make_draft(Q8_0).write(tmp_path / "q8.gguf"), kernels)
    squares = []
    for case in CASES:
        valid = ENCODER[f"{case}/soft_valid"]
        soft = encoder.encode_features(ENCODER[f"{case}/mel"])
        squares.append((soft - ENCODER[f"{case}/soft"])[valid].ravel() ** 2)
    assert np.sqrt(np.mean(np.concatenate(squares))) <= 0.04


@pytest.mark.parametrize("kernels", ["ggml", *find_variants()])
def test_bf16_is_taken_as_halves(open_encoder, tmp_path, kernels):
    """BF16 cannot hold the oracle's weights: an F32 file with the rounded ones is the measure."""
    draft = make_draft(BF16)
    path = draft.write(tmp_path / "bf16.gguf")
    for tensor in list(draft.tensors):
        if tensor.type == BF16:
            words = np.frombuffer(tensor.data, np.uint16).astype(np.uint32) << 16
            draft.change(tensor.name, type=0, data=words.tobytes())
    exact = open_encoder(draft.write(tmp_path / "f32.gguf"), "ggml")
    mel = ENCODER["t97/mel"]
    soft = open_encoder(path, kernels).encode_features(mel)
    tolerance = HALVES if kernels == "ggml" else EXACT
    np.testing.assert_allclose(soft, exact.encode_features(mel), atol=tolerance)


def test_embeddings_that_are_no_sound(open_encoder):
    encoder = open_encoder(F32_FILE)
    rows = [int(i) - 262_272 for i in ENCODER["hard/token_ids"]]
    np.testing.assert_allclose(encoder.embed_hard(rows), ENCODER["hard/embeddings"], atol=1e-5)
    by_row = dict(zip(rows, ENCODER["hard/embeddings"], strict=True))
    np.testing.assert_allclose(encoder.end_row, by_row[0], atol=1e-5)
    np.testing.assert_allclose(encoder.pad_row, by_row[127], atol=1e-5)


def test_a_longer_clip_begins_as_its_first_part_does(open_encoder):
    """Nothing looks ahead but the convolutions in front, six frames."""
    encoder = open_encoder(F32_FILE)
    mel = ENCODER["t640/mel"]
    part = encoder.encode_features(mel[:320])[:-1]
    np.testing.assert_allclose(encoder.encode_features(mel)[: len(part)], part, atol=EXACT)


def test_blocks_kept_in_memory_compute_the_same_clip_after_clip(open_encoder):
    streamed, resident = open_encoder(F16_FILE), open_encoder(F16_FILE, is_resident=True)
    for clip in (*ENCODED_CLIPS, ENCODED_CLIPS[0]):
        samples = read_clip(clip)
        assert np.array_equal(streamed.encode(samples), resident.encode(samples))


def test_progress_is_told_by_block(open_encoder):
    seen = []
    open_encoder(F32_FILE).encode(read_clip("sweep_1s"), lambda *done: seen.append(done))
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


# ------------------------------------------------------------------------------------------- rows


def test_thirty_seconds_need_no_padding(open_encoder):
    assert len(open_encoder(F32_FILE).encode(read_clip("long_31s"))) == AUDIO_POSITIONS


# ------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("values", "part"),
    [
        (np.zeros(0, np.float32), "too short"),
        (np.zeros(512, np.float32), "32 ms"),
        (np.zeros(480_001, np.float32), "30.0 s"),
        (np.array([np.nan] * 600, np.float32), "NaN"),
        (np.array([0.0] * 600 + [np.inf], np.float32), "infinite"),
        (np.zeros((600, 2), np.float32), "float32"),
        (np.zeros(600, np.int16), "float32"),
    ],
)
def test_samples_that_cannot_be_heard_are_refused(open_encoder, values, part):
    encoder = open_encoder(F32_FILE)
    with pytest.raises(InputError, match=part):
        encoder.encode(values)
    assert len(encoder.encode(np.zeros(513, np.float32))) == 1


def test_the_encoder_of_another_model_is_refused(open_encoder):
    with pytest.raises(ModelError, match="96 values, this model's 2048"):
        open_encoder(F32_FILE, n_embd=2048)
    assert open_encoder(F32_FILE, n_embd=N_TEXT).n_embd == N_TEXT


def test_weights_that_are_no_numbers_are_told(open_encoder, tmp_path):
    draft = make_draft(BF16)
    tensor = draft.tensor("a.blk.1.ffn_norm.weight")
    draft.change(tensor.name, data=np.full(64, np.nan, np.float32).tobytes())
    encoder = open_encoder(draft.write(tmp_path / "nan.gguf"))
    with pytest.raises(ModelError, match="make no sense"):
        encoder.encode(np.zeros(2000, np.float32))


def test_a_file_cut_off_after_opening_is_told(open_encoder, tmp_path):
    path = tmp_path / "cut.gguf"
    path.write_bytes(F16_FILE.read_bytes())
    encoder = open_encoder(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(ModelError, match="shorter"):
        encoder.encode(np.zeros(2000, np.float32))


# ------------------------------------------------------------------------------- stopping, closing


def test_an_interrupt_stops_it_and_the_next_clip_is_right(open_encoder):
    encoder = open_encoder(F16_FILE)
    samples = read_clip("long_31s")
    wanted = encoder.encode(samples)

    def encode_until_interrupted():
        threading.Timer(0.05, signal.raise_signal, [signal.SIGINT]).start()
        while True:
            encoder.encode(samples)

    with pytest.raises(KeyboardInterrupt):
        encode_until_interrupted()
    assert np.array_equal(encoder.encode(samples), wanted)


def test_closing_twice_is_harmless_and_frees_everything():
    process = psutil.Process()

    def use():
        encoder = open_audio_encoder(F16_FILE, 2, is_resident=True)
        encoder.encode(read_clip("bursts_1700ms"))
        encoder.close()
        encoder.close()

    for _ in range(3):
        use()
    rss, n_fds, n_threads = process.memory_info().rss, process.num_fds(), process.num_threads()
    for _ in range(20):
        use()
    assert process.num_fds() <= n_fds
    assert process.memory_info().rss - rss < 4e6  # twenty times the weights alone are 12 MB
    deadline = time.monotonic() + 10  # threads of C code end a moment after they were told to
    while process.num_threads() > n_threads and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.num_threads() <= n_threads
