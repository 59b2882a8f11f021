"""One side of ``vision.py`` in a process of its own; prints raw samples.

Runs in any environment that has what the side needs: g3n's, or one with torch and timm.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Encode = Callable[[Pixels], Floats]

VOCABULARY = Path(__file__).parents[1] / "g3n_cli" / "models" / "g3n-mini.gguf"
"""Any model whose vocabulary libmtmd can look at; the weights are not loaded."""

_EMBEDDER = {
    "mm.embedding.weight": "embedding.weight",
    "mm.hard_emb_norm.weight": "hard_embedding_norm.weight",
    "mm.soft_emb_norm.weight": "soft_embedding_norm.weight",
    "mm.input_projection.weight": "embedding_projection.weight",
}
"""The embedder's tensors as transformers calls them."""


def make_picture(side: int) -> Pixels:
    """Patches of colour with noise over them."""
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 200, (16, 16, 3)).repeat(side // 16, 0).repeat(side // 16, 1)
    return (patches + rng.integers(0, 56, patches.shape)).astype(np.uint8)


def open_g3n(mmproj: Path, n_threads: int, kernels: str) -> Encode:
    """g3n's encoder, with kernels as ``load_kernels`` names them."""
    from g3n_cli.engine.encoders.vision import open_image_encoder

    return open_image_encoder(mmproj, n_threads, kernels=kernels).encode


def open_libmtmd(mmproj: Path, n_threads: int) -> Encode:
    """llama.cpp's encoder, as llama-cpp-python brings it.

    Raises:
        SystemExit: it refuses the file or the picture.
    """
    import ctypes  # noqa: TID251  (calls llama-cpp-python's bindings; not part of g3n)

    from llama_cpp import llama_cpp, mtmd_cpp

    llama_cpp.llama_backend_init()
    model_params = llama_cpp.llama_model_default_params()
    model_params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(VOCABULARY).encode(), model_params)
    params = mtmd_cpp.mtmd_context_params_default()
    params.use_gpu, params.warmup, params.n_threads = False, False, n_threads
    context = mtmd_cpp.mtmd_init_from_file(str(mmproj).encode(), model, params)
    if context is None:
        raise SystemExit("error: libmtmd refuses the file")
    marker = mtmd_cpp.mtmd_default_marker()
    n_embd = int(_describe(mmproj)["clip.vision.projection_dim"])

    def encode(pixels: Pixels) -> Floats:
        side = len(pixels)
        values = np.ascontiguousarray(pixels).ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        bitmap = mtmd_cpp.mtmd_bitmap_init(side, side, values)
        chunks = mtmd_cpp.mtmd_input_chunks_init()
        text = mtmd_cpp.mtmd_input_text(marker, len(marker), False, True)
        bitmaps = (ctypes.c_void_p * 1)(bitmap)
        if mtmd_cpp.mtmd_tokenize(context, chunks, ctypes.byref(text), bitmaps, 1):
            raise SystemExit("error: libmtmd refuses the picture")
        n_chunks = mtmd_cpp.mtmd_input_chunks_size(chunks)
        found = [mtmd_cpp.mtmd_input_chunks_get(chunks, i) for i in range(n_chunks)]
        kind = mtmd_cpp.MTMD_INPUT_CHUNK_TYPE_IMAGE
        (chunk,) = [c for c in found if mtmd_cpp.mtmd_input_chunk_get_type(c) == kind]
        if mtmd_cpp.mtmd_encode_chunk(context, chunk):
            raise SystemExit("error: libmtmd cannot encode the picture")
        n_tokens = mtmd_cpp.mtmd_input_chunk_get_n_tokens(chunk)
        out = mtmd_cpp.mtmd_get_output_embd(context)
        rows = np.ctypeslib.as_array(out, (n_tokens, n_embd)).copy()
        mtmd_cpp.mtmd_input_chunks_free(chunks)
        mtmd_cpp.mtmd_bitmap_free(bitmap)
        return rows

    return encode


def open_torch(mmproj: Path, n_threads: int) -> Encode:
    """The encoder of timm and the embedder of transformers in float32, with the file's weights."""
    import timm
    import torch
    from transformers import Gemma3nTextConfig, Gemma3nVisionConfig
    from transformers.models.gemma3n.modeling_gemma3n import Gemma3nMultimodalEmbedder

    torch.set_num_threads(n_threads)
    with torch.device("meta"):
        encoder = timm.create_model("mobilenetv5_300m_enc")
        embedder = Gemma3nMultimodalEmbedder(
            Gemma3nVisionConfig(), Gemma3nTextConfig(hidden_size=2048)
        )
    weights = _read_weights(mmproj)
    for module, renamed in (
        (encoder, lambda n: f"v.{n.replace('blocks.', 'blk.', 1)}"),
        (embedder, {new: old for old, new in _EMBEDDER.items()}.__getitem__),
    ):
        state = {
            name: torch.from_numpy(weights.pop(renamed(name)).reshape(tuple(p.shape)))
            for name, p in module.named_parameters()
        }
        module.load_state_dict(state, strict=False, assign=True)
        module.eval()
    embedder.embedding_post_projection_norm.weight = torch.ones(2048)  # a constant, not stored

    def encode(pixels: Pixels) -> Floats:
        values = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            seen = encoder(values).flatten(2).transpose(1, 2) * 2048**0.5
            rows: Floats = embedder(inputs_embeds=seen)[0].numpy()
        return rows

    return encode


def _describe(mmproj: Path) -> dict[str, Any]:
    from g3n_cli.engine.gguf import GgufFile

    return GgufFile.open(mmproj).metadata


def _read_weights(mmproj: Path) -> dict[str, Floats]:
    """All tensors of a file that holds nothing but F32 and F16."""
    from g3n_cli.engine.gguf import GgufFile
    from g3n_cli.engine.gguf_types import GgmlType

    kinds = {GgmlType.F32: np.float32, GgmlType.F16: np.float16}
    return {
        info.name: np.fromfile(mmproj, kinds[info.type], info.n_values, offset=info.offset).astype(
            np.float32
        )
        for info in GgufFile.open(mmproj).tensors.values()
    }


def _list_features() -> list[str]:
    """What llama.cpp was compiled for."""
    from llama_cpp import llama_cpp

    pairs = llama_cpp.llama_print_system_info().decode().split(":", 1)[1].split("|")
    return [pair.split("=")[0].strip() for pair in pairs if pair.strip().endswith("= 1")]


def read_peak() -> int:
    """Most bytes that this process had in memory at once."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = [line for line in lines if line.startswith("VmHWM")]
    return int(peak.split()[1]) * 1024


def main() -> None:
    """Encode one picture several times."""
    side, file, n_pixels, n_threads, repetitions, kernels, rows_file = sys.argv[1:]
    start = time.perf_counter()
    if side == "torch":
        encode = open_torch(Path(file), int(n_threads))
    elif side == "libmtmd":
        encode = open_libmtmd(Path(file), int(n_threads))
    else:
        encode = open_g3n(Path(file), int(n_threads), kernels)
    open_s = time.perf_counter() - start
    picture, times_s = make_picture(int(n_pixels)), []
    for _ in range(int(repetitions) + 1):  # the first warms up
        start = time.perf_counter()
        rows = encode(picture)
        times_s.append(time.perf_counter() - start)
    np.save(rows_file, rows)
    measured: dict[str, Any] = {
        "open_s": open_s,
        "first_s": times_s[0],
        "encode_s": times_s[1:],
        "peak_rss_bytes": read_peak(),
    }
    if side == "libmtmd":
        measured["compiled_for"] = _list_features()
    sys.stdout.write(json.dumps(measured))


if __name__ == "__main__":
    main()
