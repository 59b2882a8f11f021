"""Frozen settings, checked once when they are made."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from g3n_cli.errors import UsageError

KvType = Literal["f32", "f16", "q8_0", "q4_0"]
PleMode = Literal["disk", "ram"]
PrefillMode = Literal["skip", "full"]
ActType = Literal["q8", "f32", "q4"]
Widths = tuple[int, ...]
"""Of the FFN of each layer of a Gemma 3n; 0 for a layer that is left out."""

CPU = "cpu"
"""As a device: the processor that runs the program."""

AUTO = "auto"
"""As a size: the largest that fits."""

_RUN = re.compile(r"(\d+|-)(?:[*x](\d{1,3}))?")

KernelsName = Literal["own", "ggml", "portable", "neon", "avx2", "avxvnni", "avx512vnni"]


def parse_widths(text: str) -> Widths | None:
    """Widths by layer from ``8192*20,-*5,8192*10``; None if it is no such list."""
    widths: list[int] = []
    for part in text.split(","):
        if not (run := _RUN.fullmatch(part.strip())):
            return None
        widths += [0 if run[1] == "-" else int(run[1])] * int(run[2] or 1)
    return tuple(widths)


def count_physical_cores() -> int:
    """Physical cores this process may use, at least 1."""
    import psutil

    usable = len(psutil.Process().cpu_affinity() or []) or psutil.cpu_count() or 1
    return max(1, min(usable, psutil.cpu_count(logical=False) or usable))


@dataclass(frozen=True)
class NamedSize:
    """A published size of models of one shape.

    Attributes:
        name: What it is called.
        aliases: Other names.
        n_layer: Layers of the models that offer it.
        n_ff: Width of their FFNs.
        widths: Its own.
    """

    name: str
    aliases: tuple[str, ...]
    n_layer: int
    n_ff: int
    widths: Widths


KV_DISK_MB = 1000
"""What K/V of all conversations takes on disk at most, where nobody says otherwise."""


@dataclass(frozen=True)
class EngineSettings:
    """How a model is run.

    Attributes:
        n_ctx: Positions the context holds, as far as the model was trained for so many.
        n_batch: Most positions computed in one step.
        n_threads: Threads of a step.
        kv: Type of the K/V cache.
        ple: Where the per-layer embedding table of Gemma 3n lives.
        prefill: "skip" leaves the layers that share K/V out for prompt tokens nobody asks about.
        repack: Keep weights in the layout the CPU's kernels like best, where there is one.
        kernels: Whose: g3n's own, in the best variant or in the named one, or ggml's.
        size: Which of the nested models of a Gemma 3n.
        prefill_size: Which one reads prompts, if not the same.
        keep_resident: Keep weights in memory that the size does not use, to change it at once.
        act: What activations become before they meet quantized matrices: 8 bits, not rounded at
            all, or as coarse as 4 bits, to learn what those would lose.
        named_sizes: What names may be given to sizes.
        device: What computes: ``cpu``, or a device's name as ``g3n devices`` lists it or
            ``rpc:HOST:PORT``.
        gpu_layers: How many layers lie on the device, all if not given.
        speculate: Most tokens of an answer that are guessed at a time.
    """

    n_ctx: int = 4096
    n_batch: int = 256
    n_threads: int = field(default_factory=count_physical_cores)
    kv: KvType = "f16"
    ple: PleMode = "disk"
    prefill: PrefillMode = "skip"
    repack: bool = True
    kernels: KernelsName = "own"
    size: str = "full"
    prefill_size: str | None = None
    keep_resident: bool = False
    act: ActType = "q8"
    named_sizes: tuple[NamedSize, ...] = ()
    device: str = CPU
    gpu_layers: int | None = None
    speculate: int = 3

    @property
    def is_on_cpu(self) -> bool:
        """Whether the CPU computes all."""
        return self.device.lower() == CPU

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name in ("n_ctx", "n_batch", "n_threads"):
            if (value := getattr(self, name)) < 1:
                flag = name.removeprefix("n_")
                raise UsageError(f"--{flag} must be at least 1, not {value}")
        if self.speculate < 0:
            raise UsageError(f"--speculate must not be below 0, but is {self.speculate}")
        if self.keep_resident and self.size == AUTO:
            raise UsageError(
                "--keep-resident leaves --size auto no memory to save", "give one of them"
            )
        self._check_device()
        choices = {
            "kv": KvType,
            "ple": PleMode,
            "prefill": PrefillMode,
            "kernels": KernelsName,
            "act": ActType,
        }
        for name, kind in choices.items():
            if (value := getattr(self, name)) not in get_args(kind):
                allowed = ", ".join(get_args(kind))
                raise UsageError(f"--{name} must be one of {allowed}, not {value!r}")

    def _check_device(self) -> None:
        if self.is_on_cpu:
            if self.gpu_layers is not None:
                raise UsageError("--gpu-layers needs a --device to put them on")
            return
        if self.gpu_layers is not None and self.gpu_layers < 0:
            raise UsageError(f"--gpu-layers must not be below 0, but is {self.gpu_layers}")
        if self.act != "q8":
            raise UsageError(f"--act {self.act} needs the CPU's kernels", "leave out --device")
        if AUTO in (self.size, self.prefill_size):
            raise UsageError(
                "--size auto counts the CPU's memory, not that of a device", "name a size"
            )

    def limit_context(self, n_ctx_train: int) -> EngineSettings:
        """These settings for a model that was trained for ``n_ctx_train`` positions."""
        return replace(self, n_ctx=min(self.n_ctx, n_ctx_train))
