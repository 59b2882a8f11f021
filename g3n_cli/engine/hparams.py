"""The numbers that define a Gemma 3n model, all from its file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from g3n_cli.engine.gguf import GgufArray, GgufFile, Value
from g3n_cli.errors import ModelError

ARCHITECTURE = "gemma3n"
_MOST_LAYERS = 512
_MOST = 1 << 24
DEFAULT_ROPE_BASE_SWA = 10_000.0
DEFAULT_SOFTCAP = 30.0


@dataclass(frozen=True)
class HParams:
    """Hyperparameters, named as in llama.cpp.

    Attributes:
        n_layer: Layers.
        n_ctx_train: Positions the model was trained for.
        n_embd: Width of a stream.
        n_ff: Width of the FFN, by layer.
        n_head: Query heads.
        n_head_kv: Key and value heads.
        n_embd_head_k: Width of a query and key head.
        n_embd_head_v: Width of a value head.
        rms_eps: Added under the root of norms.
        n_swa: Positions a sliding layer sees, its own included.
        is_swa: Whether a layer slides.
        n_shared_kv: Last layers, that read K/V of earlier ones.
        n_altup: Streams of the hidden state.
        n_ple: Width of the per-layer embedding of one layer.
        sparsity: Standard deviations above the mean below which a gate is cut off; None if dense.
        rope_base: Of full layers.
        rope_base_swa: Of sliding layers.
        softcap: Bound of the logits.
        n_vocab: Tokens.
    """

    n_layer: int
    n_ctx_train: int
    n_embd: int
    n_ff: tuple[int, ...]
    n_head: int
    n_head_kv: int
    n_embd_head_k: int
    n_embd_head_v: int
    rms_eps: float
    n_swa: int
    is_swa: tuple[bool, ...]
    n_shared_kv: int
    n_altup: int
    n_ple: int
    sparsity: tuple[float | None, ...]
    rope_base: float
    rope_base_swa: float
    softcap: float
    n_vocab: int

    @property
    def n_layer_kv(self) -> int:
        """Layers that own K/V: all before the first that shares."""
        return self.n_layer - self.n_shared_kv

    @cached_property
    def kv_source(self) -> tuple[int, ...]:
        """The layer whose K/V each layer reads.

        Source: transformers ``kv_sharing_modes``: the last owner of the same kind of attention.
        """
        last = {self.is_swa[layer]: layer for layer in range(self.n_layer_kv)}
        shared = range(self.n_layer_kv, self.n_layer)
        return (*range(self.n_layer_kv), *(last[self.is_swa[layer]] for layer in shared))

    @classmethod
    def from_gguf(cls, gguf: GgufFile) -> HParams:
        """Read and check them.

        Raises:
            ModelError: another architecture, or a key that is missing or makes no sense.
        """
        if gguf.architecture != ARCHITECTURE:
            raise ModelError(f"{gguf.path} holds {gguf.architecture!r}, not {ARCHITECTURE}")
        keys = _Keys(gguf)
        n_layer = keys.count("block_count", most=_MOST_LAYERS)
        n_ctx_train = keys.count("context_length", most=1 << 31)
        hparams = cls(
            n_layer=n_layer,
            n_ctx_train=n_ctx_train,
            n_embd=keys.count("embedding_length"),
            n_ff=keys.counts("feed_forward_length", n_layer),
            n_head=keys.count("attention.head_count"),
            n_head_kv=keys.count("attention.head_count_kv"),
            n_embd_head_k=keys.count("attention.key_length"),
            n_embd_head_v=keys.count("attention.value_length"),
            rms_eps=keys.number("attention.layer_norm_rms_epsilon"),
            n_swa=keys.count("attention.sliding_window", most=n_ctx_train),
            is_swa=keys.flags("attention.sliding_window_pattern", n_layer),
            n_shared_kv=keys.count("attention.shared_kv_layers", least=0, most=n_layer - 1),
            n_altup=keys.count("altup.num_inputs", least=2, most=16),
            n_ple=keys.count("embedding_length_per_layer_input"),
            sparsity=keys.sparsity("activation_sparsity_scale", n_layer),
            rope_base=keys.number("rope.freq_base"),
            rope_base_swa=keys.number("rope.freq_base_swa", DEFAULT_ROPE_BASE_SWA),
            softcap=keys.number("final_logit_softcapping", DEFAULT_SOFTCAP),
            n_vocab=keys.vocabulary(),
        )
        if keys.count("altup.active_idx", least=0) != 0:
            raise keys.wrong("altup.active_idx", "only 0 is supported")
        if hparams.n_head % hparams.n_head_kv:
            raise keys.wrong("attention.head_count", "no multiple of head_count_kv")
        if hparams.n_embd_head_k % 2:
            raise keys.wrong("attention.key_length", "odd")
        owners = set(hparams.is_swa[: hparams.n_layer_kv])
        if not owners.issuperset(hparams.is_swa[hparams.n_layer_kv :]):
            raise keys.wrong("attention.shared_kv_layers", "a shared layer has no layer to read")
        return hparams


class _Keys:
    """Reads ``gemma3n.*`` keys, whose types differ between old and new files."""

    def __init__(self, gguf: GgufFile) -> None:
        self._gguf = gguf

    def wrong(self, name: str, fault: str) -> ModelError:
        return ModelError(f"{self._gguf.path}: {ARCHITECTURE}.{name}: {fault}")

    def get(self, name: str) -> Value:
        value = self._gguf.metadata.get(f"{ARCHITECTURE}.{name}")
        if value is None:
            raise self.wrong(name, "the key is missing")
        return value

    def count(self, name: str, least: int = 1, most: int = _MOST) -> int:
        return self._to_count(name, self.get(name), least, most)

    def counts(self, name: str, n: int) -> tuple[int, ...]:
        """One number for all layers, or one by layer."""
        value = self.get(name)
        items = self._list(name, value, n) if isinstance(value, GgufArray) else [value] * n
        return tuple(self._to_count(name, item, 1, _MOST) for item in items)

    def flags(self, name: str, n: int) -> tuple[bool, ...]:
        items = self._list(name, self.get(name), n)
        if not all(item in (0, 1) for item in items):
            raise self.wrong(name, "not an array of booleans")
        return tuple(bool(item) for item in items)

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number above 0."""
        if default is not None and f"{ARCHITECTURE}.{name}" not in self._gguf.metadata:
            return default
        value = self.get(name)
        if isinstance(value, bool | str | GgufArray) or not 0 < value < math.inf:
            raise self.wrong(name, f"{_show(value)} is not a number above 0")
        return float(value)

    def sparsity(self, name: str, n: int) -> tuple[float | None, ...]:
        """Minus infinity stands for a dense layer."""
        items = [float(item) for item in self._list(name, self.get(name), n)]
        if any(math.isnan(item) or item == math.inf for item in items):
            raise self.wrong(name, "not finite")
        return tuple(None if item == -math.inf else item for item in items)

    def vocabulary(self) -> int:
        tokens = self._gguf.metadata.get("tokenizer.ggml.tokens")
        if not isinstance(tokens, GgufArray) or not tokens.is_string or not tokens.length:
            raise ModelError(f"{self._gguf.path}: tokenizer.ggml.tokens is not a list of tokens")
        return tokens.length

    def _list(self, name: str, value: Value, n: int) -> list[int | float | bool]:
        if not isinstance(value, GgufArray) or value.is_string or value.length != n:
            raise self.wrong(name, f"not an array of {n} numbers")
        items: list[int | float | bool] = value.to_numpy().tolist()
        return items

    def _to_count(self, name: str, value: Value, least: int, most: int) -> int:
        if isinstance(value, bool | str | GgufArray) or not least <= value <= most:
            raise self.wrong(name, f"{_show(value)} is not between {least} and {most}")
        if value != int(value):
            raise self.wrong(name, f"{value} is not a whole number")
        return int(value)


def _show(value: Value) -> str:
    return "an array" if isinstance(value, GgufArray) else repr(value)
