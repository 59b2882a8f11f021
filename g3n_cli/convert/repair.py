"""A projector file of llama.cpp's converter, made fit for libmtmd.

The converter writes ``layer_scale.gamma`` as a vector of C values, and libmtmd, which multiplies an
image [W, H, C, 1] by it, aborts the process. As [1, 1, C, 1] the same bytes are right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from g3n_cli.engine.gguf import GgufFile, TensorInfo
from g3n_cli.engine.gguf_writer import GgufWriter, TensorSpec
from g3n_cli.errors import ModelError

_CHUNK = 16 << 20
_GAMMA = ".layer_scale.gamma"
_AUDIO_EPSILON = "clip.audio.attention.layer_norm_epsilon"


def write_repaired(
    gguf: GgufFile, out: Path, on_progress: Callable[[int, int], None] | None = None
) -> None:
    """Write the file with gammas of the right shape and the audio part's true epsilon.

    Args:
        gguf: A projector of Gemma 3n.
        out: The file to make.
        on_progress: Called with bytes written and bytes in all.

    Raises:
        ModelError: it is another kind of file.
        G3nError: it cannot be written.
    """
    kinds = [gguf.metadata.get(f"clip.{part}.projector_type") for part in ("vision", "audio")]
    if gguf.architecture != "clip" or not {"gemma3nv", "gemma3na"} & set(map(str, kinds)):
        raise ModelError(f"{gguf.path} is not a projector file of Gemma 3n")
    infos = sorted(gguf.tensors.values(), key=lambda info: info.offset)
    metadata = dict(gguf.metadata)
    metadata.pop("general.alignment", None)
    if _AUDIO_EPSILON in metadata:
        metadata[_AUDIO_EPSILON] = 1e-6
    specs = [_repair(info) for info in infos]
    with GgufWriter(out, metadata, specs, on_progress) as writer:
        for info in infos:
            writer.write_tensor(info.name, _read(gguf.path, info))


def _is_flat_gamma(info: TensorInfo) -> bool:
    return info.name.endswith(_GAMMA) and len(info.ne) == 1


def _repair(info: TensorInfo) -> TensorSpec:
    spec = TensorSpec(info.name, info.type, info.ne)
    return replace(spec, ne=(1, 1, *info.ne, 1)) if _is_flat_gamma(info) else spec


def _read(path: Path, info: TensorInfo) -> Iterator[bytes]:
    for start in range(0, info.n_bytes, _CHUNK):
        count = min(_CHUNK, info.n_bytes - start)
        yield np.fromfile(path, np.uint8, count, offset=info.offset + start).tobytes()
