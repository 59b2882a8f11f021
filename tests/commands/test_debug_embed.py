import numpy as np
import pytest

from tests.engine.encoders.audio_oracle import F32_FILE, FEATURES, FOLDER
from tests.gguf_edit import BOOL, read_draft, scalar
from tests.model_files import SMALL8
from tests.program import assert_fails

WAV = FOLDER / "wav"


def test_the_soft_tokens_of_a_clip_are_written(g3n):
    out = g3n.home / "out.npy"
    done = g3n.run("debug", "embed", F32_FILE, WAV / "sweep_1s.wav", "-o", out)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    rows = np.load(out)
    assert (rows.shape, rows.dtype) == ((7, 96), np.float32)
    np.testing.assert_allclose(rows, FEATURES["sweep_1s/soft"], atol=1e-3)


@pytest.mark.parametrize(
    ("mmproj", "file", "code", "part"),
    [
        (F32_FILE, WAV / "short_5ms.wav", 4, "too short"),
        (F32_FILE, WAV / "long_31s.wav", 4, "at most 30 s"),
        (F32_FILE, WAV / "missing.wav", 4, "is not a file"),
        (F32_FILE, F32_FILE, 4, "nothing that can be encoded"),
        (SMALL8, WAV / "sweep_1s.wav", 3, "not an encoder"),
        (WAV / "sweep_1s.wav", WAV / "sweep_1s.wav", 3, "GGUF"),
    ],
)
def test_what_cannot_be_encoded_is_refused_in_one_line(g3n, mmproj, file, code, part):
    out = g3n.home / "out.npy"
    assert_fails(g3n.run("debug", "embed", mmproj, file, "-o", out), code, part)
    assert not out.exists()


def test_a_missing_encoder_ends_as_in_a_chat(g3n, tmp_path):
    draft = read_draft(F32_FILE)
    draft.keys["clip.has_audio_encoder"] = scalar(BOOL, False)
    mmproj = draft.write(tmp_path / "mmproj.gguf")
    wav = WAV / "sweep_1s.wav"
    embedded = g3n.run("debug", "embed", mmproj, wav, "-o", tmp_path / "out.npy")
    assert_fails(embedded, 4, "no audio encoder")
    assert_fails(g3n.run("chat", "-m", SMALL8, "--mmproj", mmproj, "-f", wav, "?"), 4, "no audio")
