"""What llama.cpp asserts of the files it runs, checked before it can abort the process.

Sources: llama.cpp ``llama_model_base::load_hparams``, ``llama_model_loader``, ``build_attn_mha``;
ggml-cpu's ``rms_norm``, ``get_rows`` and ``rope``.
"""

from __future__ import annotations

from g3n_cli.engine.gguf import GgufArray, GgufFile
from g3n_cli.engine.gguf_types import MATRIX_TYPES, GgmlType
from g3n_cli.errors import ModelError

MOST_LAYERS = 512
MOST_EXPERTS = 1024
_MOST = 2**32 - 1
_ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")
_VECTOR_ENDINGS = ("norm.weight", ".bias")
_INDEX_ENDING = "ffn_gate_tid2eid.weight"  # expert indices by token, integers


def check_for_llama_cpp(gguf: GgufFile) -> None:
    """Check keys and tensors of any architecture.

    Raises:
        ModelError: llama.cpp would abort, or load files that were not checked.
    """
    keys = _Keys(gguf)
    n_layer = keys.count("block_count", 1, MOST_LAYERS)
    keys.count("nextn_predict_layers", 0, n_layer, absent=0)
    _check_experts(keys, n_layer)
    _check_heads(keys, n_layer)
    keys.check_epsilons()
    if keys.get("rope.scaling.type", "linear") not in _ROPE_SCALINGS:
        raise keys.wrong("rope.scaling.type", f"none of {', '.join(_ROPE_SCALINGS)}")
    if gguf.metadata.get("split.count", 0) not in (0, 1):
        raise ModelError(
            f"{gguf.path} is one part of a model split over several files",
            "join the parts with llama.cpp's llama-gguf-split --merge",
        )
    for info in gguf.tensors.values():
        is_vector = len(info.ne) == 1 or info.name.endswith(_VECTOR_ENDINGS)
        allowed = {GgmlType.F32} if is_vector else MATRIX_TYPES
        if info.type not in allowed and not info.name.endswith(_INDEX_ENDING):
            raise ModelError(f"{gguf.path}: {info.name} has the unusable type {info.type.name}")


def _check_experts(keys: _Keys, n_layer: int) -> None:
    n_expert = keys.count("expert_count", 0, MOST_EXPERTS, absent=0)
    n_used = max(keys.counts("expert_used_count", n_layer, absent=0))
    n_group = keys.count("expert_group_count", 0, MOST_EXPERTS, absent=0)
    n_group_used = keys.count("expert_group_used_count", 0, MOST_EXPERTS, absent=0)
    if keys.architecture.startswith("hunyuan") and n_expert <= 1:
        return  # llama.cpp takes such a file to have no experts
    if n_expert == 0:
        fits = n_used == n_group == 0
    else:
        fits = 0 < n_used <= n_expert and n_group < n_expert
        if n_group > 1:
            fits = fits and n_expert % n_group == 0 and 0 < n_group_used < n_group
    if not fits:
        raise keys.wrong("expert_count", f"{n_expert} does not fit the other expert_ keys")


def _check_heads(keys: _Keys, n_layer: int) -> None:
    """Query heads share K/V heads evenly wherever there is attention; RoPE turns pairs."""
    n_head = keys.counts("attention.head_count", n_layer, absent=0)
    n_head_kv = keys.counts("attention.head_count_kv", n_layer, absent=n_head)
    for layer, (queries, kv) in enumerate(zip(n_head, n_head_kv, strict=True)):
        if f"blk.{layer}.attn_q.weight" not in keys.gguf.tensors:
            continue
        if kv == 0 or queries == 0 or queries % kv:
            raise keys.wrong("attention.head_count_kv", f"{kv} does not divide {queries} heads")
    if n_head[0]:
        n_embd = keys.count("embedding_length", 1, _MOST)
        head = keys.count("attention.key_length", 0, _MOST, absent=n_embd // n_head[0])
        n_rot = keys.count("rope.dimension_count", 0, _MOST, absent=head)
        if n_rot % 2:
            raise keys.wrong("rope.dimension_count", f"{n_rot} is odd")


class _Keys:
    """Reads keys of the file's architecture."""

    def __init__(self, gguf: GgufFile) -> None:
        self.gguf = gguf
        self.architecture = gguf.architecture

    def wrong(self, name: str, fault: str) -> ModelError:
        return ModelError(f"{self.gguf.path}: {self.architecture}.{name}: {fault}")

    def get(self, name: str, absent: object) -> object:
        return self.gguf.metadata.get(f"{self.architecture}.{name}", absent)

    def count(self, name: str, least: int, most: int, absent: int | None = None) -> int:
        value = self.get(name, absent)
        if not isinstance(value, int) or not least <= value <= most:
            raise self.wrong(name, f"not a number between {least} and {most}")
        return value

    def counts(self, name: str, n: int, absent: int | list[int]) -> list[int]:
        """One number for all layers, or one by layer."""
        value = self.get(name, absent)
        if isinstance(value, GgufArray) and not value.is_string:
            value = value.to_numpy().tolist()
        values: list[object] = value if isinstance(value, list) else [value] * n
        numbers = [v for v in values if isinstance(v, int) and 0 <= v <= _MOST]
        if not len(numbers) == len(values) == n:
            raise self.wrong(name, f"not a number, nor {n} of them")
        return numbers

    def check_epsilons(self) -> None:
        for key, value in self.gguf.metadata.items():
            is_epsilon = key.startswith(f"{self.architecture}.") and key.endswith("epsilon")
            if is_epsilon and not (isinstance(value, int | float) and 0 <= value <= 1):
                raise ModelError(f"{self.gguf.path}: {key} is not between 0 and 1")
