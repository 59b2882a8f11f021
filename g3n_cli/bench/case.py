"""What is measured: one case, and the sweep of flags that many cases come from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from g3n_cli.config import CPU, EngineSettings, NamedSize
from g3n_cli.errors import UsageError

_PLAIN = ("n_prompt", "n_gen", "n_depth", "device", "least_ctx")
_OF_THE_CASE = frozenset({"n_ctx", "named_sizes", "device"})
"""Settings that follow from the rest and are not recorded as such."""


def is_address(device: str) -> bool:
    """Whether a device is a server, named by its address."""
    return "://" in device


@dataclass(frozen=True)
class BenchModel:
    """A model by the name that results show, and its file; a server's model has none here."""

    name: str
    path: Path | None


@dataclass(frozen=True)
class Case:
    """One line of a result.

    Attributes:
        model: What runs.
        n_prompt: Tokens of the prompt whose first token is waited for; 0 leaves that out.
        n_gen: Tokens decoded one by one after the first; 0 leaves that out.
        n_depth: Tokens that are in the context before.
        settings: How it runs; the context is as long as the case needs, or longer.
        device: Where it runs, as the settings say too; of a server the address, and the settings
            are not its own then.
        least_ctx: Positions that the context has at least.
    """

    model: BenchModel
    n_prompt: int
    n_gen: int
    n_depth: int = 0
    settings: EngineSettings = field(default_factory=EngineSettings)
    device: str = CPU
    least_ctx: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        if min(self.n_prompt, self.n_gen, self.n_depth) < 0 or self.n_prompt + self.n_gen == 0:
            raise UsageError(
                f"there is nothing to measure in -p {self.n_prompt} -n {self.n_gen}",
                "one of them must be above 0",
            )
        # Without a prompt one token is read to decode after.
        needed = self.n_depth + max(self.n_prompt, not self.n_depth) + self.n_gen
        n_ctx = max(needed, self.least_ctx)
        object.__setattr__(
            self, "settings", replace(self.settings, n_ctx=n_ctx, device=self.device)
        )

    @property
    def is_remote(self) -> bool:
        """Whether a server runs it."""
        return is_address(self.device)

    @property
    def path(self) -> Path:
        """The model's file, of a case that runs here."""
        assert self.model.path is not None
        return self.model.path

    @property
    def label(self) -> str:
        """As in llama-bench: ``pp512``, ``tg128 @ d2048``, or both as ``pp512+tg128``."""
        parts = [f"pp{self.n_prompt}"] * (self.n_prompt > 0) + [f"tg{self.n_gen}"] * (
            self.n_gen > 0
        )
        return "+".join(parts) + (f" @ d{self.n_depth}" if self.n_depth else "")

    @property
    def recorded_settings(self) -> dict[str, Any]:
        """Settings by name, as results show them; none of a server."""
        if self.is_remote:
            return {}
        values = asdict(self.settings)
        return {name: value for name, value in values.items() if name not in _OF_THE_CASE}

    def to_json(self) -> dict[str, Any]:
        """Plain values that ``from_json`` reads, of a case that runs here."""
        return {
            "model": self.model.name,
            "path": str(self.path),
            "n_prompt": self.n_prompt,
            "n_gen": self.n_gen,
            "n_depth": self.n_depth,
            "settings": self.recorded_settings,
            "device": self.device,
            "least_ctx": self.least_ctx,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], named_sizes: tuple[NamedSize, ...]) -> Case:
        """The case that ``to_json`` wrote."""
        return cls(
            model=BenchModel(values["model"], Path(values["path"])),
            settings=EngineSettings(
                **values["settings"], named_sizes=named_sizes, device=values["device"]
            ),
            **{name: values[name] for name in _PLAIN},
        )


@dataclass(frozen=True)
class Sweep:
    """Values of each flag; every combination is a case.

    Attributes:
        models: What runs on this machine.
        n_prompt: Lengths of prompts.
        n_gen: Tokens decoded.
        n_depth: Tokens before.
        base: Settings that do not vary.
        varied: Values of those that do, by their names in ``EngineSettings``.
        devices: Where to run them.
        least_ctx: Positions that each context has at least.
        servers: Models by the address of the server that runs them.
    """

    models: Sequence[BenchModel]
    n_prompt: Sequence[int]
    n_gen: Sequence[int]
    n_depth: Sequence[int]
    base: EngineSettings
    varied: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    devices: Sequence[str] = (CPU,)
    least_ctx: int = 0
    servers: Mapping[str, Sequence[BenchModel]] = field(default_factory=dict)

    def expand(self) -> list[Case]:
        """All cases, each once, the model changing slowest.

        Raises:
            UsageError: a value that makes no sense.
        """
        return list(dict.fromkeys(self._combine()))

    def _combine(self) -> Iterator[Case]:
        ways = [(device, how) for device in self.devices for how in self._list_settings(device)]
        axes = (self.models, ways, self.n_depth, self.n_prompt, self.n_gen)
        for model, (device, how), n_depth, n_prompt, n_gen in itertools.product(*axes):
            yield Case(model, n_prompt, n_gen, n_depth, how, device, self.least_ctx)
        lengths = (self.n_depth, self.n_prompt, self.n_gen)
        for address, models in self.servers.items():
            for model, n_depth, n_prompt, n_gen in itertools.product(models, *lengths):
                yield Case(model, n_prompt, n_gen, n_depth, self.base, address)

    def _list_settings(self, device: str) -> Iterator[EngineSettings]:
        """Those of a device; where others are there too, layers are counted on those alone."""
        varied = dict(self.varied)
        if device == CPU and any(other != CPU for other in self.devices):
            varied.pop("gpu_layers", None)
        for values in itertools.product(*varied.values()):
            yield replace(self.base, device=device, **dict(zip(varied, values, strict=True)))


def find_varied(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names whose values differ among the rows that have them."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if len({str(row[name]) for row in rows if name in row}) > 1]
