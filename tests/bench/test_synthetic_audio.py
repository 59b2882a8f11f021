import numpy as np
import pytest

from g3n_cli.bench.synthetic_audio import AudioShape, make_audio_mmproj
from g3n_cli.engine.encoders.audio import open_audio_encoder

TINY = AudioShape(n_layer=2, n_embd=64, n_ff=128, n_head=4, channels=(8, 4), n_text=32)


@pytest.mark.parametrize("quant", ["f32", "f16", "q8_0"])
def test_random_encoders_encode(tmp_path, quant):
    make_audio_mmproj(tmp_path / "a.gguf", quant, TINY)
    encoder = open_audio_encoder(tmp_path / "a.gguf", 1, n_embd=32)
    rows = encoder.encode(np.sin(np.arange(16_000, dtype=np.float32)))
    encoder.close()
    assert rows.shape == (7, 32)
    np.testing.assert_allclose(np.mean(rows**2, axis=1), 1, atol=1e-3)
