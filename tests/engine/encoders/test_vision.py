"""The vision encoder against timm and transformers, on a tiny random model with all its blocks.

The reference is computed in float64 from weights that F16 holds exactly, so that both files of it
stand for the same numbers. Values are about 1 in size; float32 sums of any order stay within EXACT.
"""

import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from gguf.quants import quantize
from PIL import Image

from g3n_cli.engine.encoders.vision import open_image_encoder
from g3n_cli.errors import InputError, ModelError
from g3n_cli.kernels.library import find_variants
from tests.gguf_edit import BOOL, read_draft, scalar

FOLDER = Path(__file__).parents[2] / "data" / "vision"
F32_FILE, F16_FILE = FOLDER / "mmproj-f32.gguf", FOLDER / "mmproj-f16.gguf"
REFERENCE = dict(np.load(FOLDER / "encoder.npz"))
SIDES = (64, 128, 256, 512, 768)
KERNELS = ["ggml", *find_variants()]
N_TEXT = 32
EXACT = 5e-5
F32, F16, Q8_0, I32, BF16 = 0, 1, 8, 26, 30


def read_picture(side):
    return np.asarray(Image.open(FOLDER / f"picture-{side}.png"))


@pytest.fixture
def open_encoder():
    opened = []

    def open_(path, kernels="own", **options):
        opened.append(open_image_encoder(path, 2, kernels=kernels, **options))
        return opened[-1]

    yield open_
    for encoder in opened:
        encoder.close()


@pytest.fixture
def write_changed(tmp_path):
    """Write the F16 file with a tensor changed, dropped or renamed."""

    def write(name, /, **fields):
        draft = read_draft(F16_FILE)
        if fields:
            draft.change(name, **fields)
        else:
            draft.drop(name)
        return draft.write(tmp_path / "changed.gguf")

    return write


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("path", [F32_FILE, F16_FILE], ids=["f32", "f16"])
@pytest.mark.parametrize("kernels", KERNELS)
def test_pictures_become_transformers_soft_tokens(open_encoder, path, kernels, side):
    rows = open_encoder(path, kernels).encode(read_picture(side))
    assert (rows.shape, rows.dtype) == ((256, N_TEXT), np.float32)
    np.testing.assert_allclose(rows, REFERENCE[f"rows_{side}"], atol=EXACT)


@pytest.mark.parametrize("kernels", KERNELS)
def test_every_part_computes_what_timm_does(open_encoder, kernels):
    encoder = open_encoder(F16_FILE, kernels)
    seen = [out.copy() for out in encoder.run_parts(read_picture(64))]
    blocks = sorted(name for name in REFERENCE if name.startswith("block_"))
    names = ["stem_64", *blocks, "fused_64"]
    assert len(seen) == len(names)
    for name, out in zip(names, seen, strict=True):
        np.testing.assert_allclose(out, REFERENCE[name], atol=EXACT, rtol=EXACT, err_msg=name)


def test_embeddings_that_are_no_picture(open_encoder):
    encoder = open_encoder(F32_FILE)
    np.testing.assert_allclose(encoder.end_row, REFERENCE["hard"][0], atol=1e-5)
    np.testing.assert_allclose(encoder.pad_row, REFERENCE["hard"][127], atol=1e-5)


def make_draft(kind):
    """The F32 file with its matrices, as such, in another type."""
    draft = read_draft(F32_FILE)
    for tensor in list(draft.tensors):
        ne = tuple(n for n in tensor.ne if n != 1)
        if len(ne) == 2 and ne[0] % 32 == 0 and tensor.name.startswith("v.blk"):
            values = np.frombuffer(tensor.data[: 4 * np.prod(ne)], np.float32)
            rows = quantize(values.reshape(ne[::-1]), kind)
            draft.change(tensor.name, ne=ne, type=kind, data=rows.tobytes())
    assert sum(tensor.type == kind for tensor in draft.tensors) > 20
    return draft


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(("kind", "least"), [(Q8_0, 0.999), (BF16, 0.999)], ids=["q8_0", "bf16"])
def test_other_types_are_as_near_as_their_rounding_allows(
    open_encoder, tmp_path, kernels, kind, least
):
    encoder = open_encoder(make_draft(kind).write(tmp_path / "m.gguf"), kernels)
    rows, wanted = encoder.encode(read_picture(256)), REFERENCE["rows_256"]
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted, axis=1)
    assert ((rows * wanted).sum(axis=1) / lengths).mean() > least


def test_scales_of_layers_may_have_either_shape(open_encoder, tmp_path):
    """llama.cpp's converter writes [n], g3n's [1, 1, n, 1], which libmtmd needs."""
    draft = read_draft(F16_FILE)
    gammas = [tensor for tensor in draft.tensors if tensor.name.endswith("gamma")]
    for tensor in gammas:
        n = int(np.prod(tensor.ne))
        draft.change(tensor.name, ne=(n,) if len(tensor.ne) == 4 else (1, 1, n, 1))
    rows = open_encoder(draft.write(tmp_path / "m.gguf")).encode(read_picture(64))
    np.testing.assert_allclose(rows, REFERENCE["rows_64"], atol=EXACT)
    assert gammas


@pytest.mark.parametrize("side", [1, 2, 33, 100])
@pytest.mark.skipif(not find_variants(), reason="there is one way to compute only")
def test_any_side_and_kernel_is_computed_as_ggml_does(open_encoder, tmp_path, side):
    draft = read_draft(F16_FILE)
    rng = np.random.default_rng(side)
    for name in ("3.0.dw_start", "3.0.dw_mid", "2.3.attn.key.down", "2.3.attn.value.down"):
        tensor = draft.tensor(f"v.blk.{name}{'.' if 'dw' in name else '_'}conv.weight")
        taps = rng.normal(0, 1 / 7, (tensor.ne[3], 1, 7, 7)).astype(np.float16)
        draft.change(tensor.name, ne=taps.shape[::-1], data=taps.tobytes())
    path = draft.write(tmp_path / "m.gguf")
    picture = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    rows, wanted = (open_encoder(path, k).encode(picture) for k in (find_variants()[0], "ggml"))
    np.testing.assert_allclose(rows, wanted, atol=EXACT)


def test_progress_is_told_by_part(open_encoder):
    seen = []
    encoder = open_encoder(F16_FILE)
    encoder.encode(read_picture(64), lambda *done: seen.append(done))
    assert seen == [(done, 15) for done in range(16)]


# --------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("values", "part"),
    [
        (np.zeros((64, 32, 3), np.uint8), "not 32 x 64"),
        (np.zeros((0, 0, 3), np.uint8), "not 0 x 0"),
        (np.zeros((4096, 4096, 3), np.uint8), "at most 2048"),
        (np.zeros((64, 64), np.uint8), "RGB"),
        (np.zeros((64, 64, 4), np.uint8), "RGB"),
        (np.zeros((64, 64, 3), np.float32), "8 bits"),
    ],
)
def test_pictures_that_cannot_be_seen_are_refused(open_encoder, values, part):
    with pytest.raises(InputError, match=part):
        open_encoder(F16_FILE).encode(values)


def test_the_encoder_of_another_model_is_refused(open_encoder):
    with pytest.raises(ModelError, match="32 values, this model's 2048"):
        open_encoder(F16_FILE, n_embd=2048)
    assert open_encoder(F16_FILE, n_embd=N_TEXT).n_embd == N_TEXT


@pytest.mark.parametrize("name", [tensor.name for tensor in read_draft(F16_FILE).tensors])
def test_every_tensor_is_needed_and_of_one_shape(open_encoder, write_changed, name):
    tensor = read_draft(F16_FILE).tensor(name)
    for fields in (
        *([] if name.endswith("gamma") else [{}]),  # blocks without a scale are blocks too
        {"type": I32},
        {"ne": (tensor.ne[0] + 1, *tensor.ne[1:]), "data": tensor.data * 2},
        {"ne": (7,), "data": tensor.data * 2},
    ):
        with pytest.raises(ModelError):
            open_encoder(write_changed(name, **fields))


@pytest.mark.parametrize(
    ("name", "new", "part"),
    [
        ("v.blk.2.3.norm.weight", "v.blk.2.3.extra.weight", "norm"),
        ("v.blk.0.0.bn1.weight", "v.blk.0.7.bn1.weight", "missing"),
        ("v.blk.3.1.layer_scale.gamma", "v.blk.3.1.layer_scale.beta", "unknown tensor"),
        ("v.blk.3.0.dw_mid.conv.weight", "v.blk.3.0.dw_end.conv.weight", "unknown"),
    ],
)
def test_blocks_of_unknown_kinds_are_refused(open_encoder, write_changed, name, new, part):
    with pytest.raises(ModelError, match=part):
        open_encoder(write_changed(name, name=new))


def test_files_without_a_vision_encoder_are_refused(open_encoder, tmp_path):
    draft = read_draft(F16_FILE)
    draft.keys["clip.has_vision_encoder"] = scalar(BOOL, False)
    with pytest.raises(ModelError, match="no vision encoder"):
        open_encoder(draft.write(tmp_path / "none.gguf"))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.999])
def test_files_cut_short_are_refused(open_encoder, tmp_path, share):
    content = F16_FILE.read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError):
        open_encoder(path)


def test_weights_that_are_no_numbers_are_told(open_encoder, write_changed):
    nan = np.full(32, np.nan, np.float32).tobytes()
    encoder = open_encoder(write_changed("v.blk.1.1.pw_proj.bn.weight", data=nan))
    with pytest.raises(ModelError, match="make no sense"):
        encoder.encode(read_picture(64))


def test_a_file_cut_off_after_opening_is_told(open_encoder, tmp_path):
    path = tmp_path / "cut.gguf"
    path.write_bytes(F16_FILE.read_bytes())
    encoder = open_encoder(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(ModelError, match="shorter"):
        encoder.encode(read_picture(64))


# ------------------------------------------------------------------------------- stopping, closing


def test_an_interrupt_stops_it_and_the_next_picture_is_right(open_encoder):
    encoder, picture = open_encoder(F16_FILE), read_picture(768)
    wanted = encoder.encode(picture)

    def encode_until_interrupted():
        threading.Timer(0.05, signal.raise_signal, [signal.SIGINT]).start()
        while True:
            encoder.encode(picture)

    with pytest.raises(KeyboardInterrupt):
        encode_until_interrupted()
    assert np.array_equal(encoder.encode(picture), wanted)


def test_closing_twice_is_harmless_and_frees_everything():
    process = psutil.Process()

    def use():
        encoder = open_image_encoder(F16_FILE, 2)
        encoder.encode(read_picture(128))
        encoder.close()
        encoder.close()

    for _ in range(3):
        use()
    rss, n_fds, n_threads = process.memory_info().rss, process.num_fds(), process.num_threads()
    for _ in range(20):
        use()
    assert process.num_fds() <= n_fds
    assert process.memory_info().rss - rss < 4e6  # twenty times the weights alone are 8 MB
    deadline = time.monotonic() + 10  # threads of C code end a moment after they were told to
    while process.num_threads() > n_threads and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.num_threads() <= n_threads
