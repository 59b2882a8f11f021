"""What is measured: one case, and the sweep of flags that many cases come from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from g3n_cli.bench.media import Medium
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
    """A model by the name that results show.

    Attributes:
        name: That name.
        path: Its file; a server's model has none here.
        mmproj: The file of its encoders, where media are measured.
    """

    name: str
    path: Path | None
    mmproj: Path | None = None


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
        medium: What the prompt begins with, before its ``n_prompt`` tokens; None for text alone.
    """

    model: BenchModel
    n_prompt: int
    n_gen: int
    n_depth: int = 0
    settings: EngineSettings = field(default_factory=EngineSettings)
    device: str = CPU
    least_ctx: int = 0
    medium: Medium | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        counts = (self.n_prompt, self.n_gen, self.n_depth)
        if min(counts) < 0 or (self.n_gen == 0 and not self.has_prompt):
            raise UsageError(
                f"there is nothing to measure in -p {self.n_prompt} -n {self.n_gen}",
                "one of them must be above 0",
            )
        n_medium = 0 if self.medium is None else self.medium.n_positions
        needed = self.n_before + n_medium + self.n_prompt + self.n_gen
        n_ctx = max(needed, self.least_ctx)
        object.__setattr__(
            self, "settings", replace(self.settings, n_ctx=n_ctx, device=self.device)
        )

    @property
    def has_prompt(self) -> bool:
        """Whether a first token is waited for."""
        return self.n_prompt > 0 or self.medium is not None

    @property
    def n_before(self) -> int:
        """Tokens that are read before the measurement; without a prompt one to decode after."""
        return self.n_depth or int(not self.has_prompt)

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
    def files(self) -> list[Path]:
        """All weights that it reads, of a case that runs here."""
        if self.medium is None or self.model.mmproj is None:
            return [self.path]
        return [self.path, self.model.mmproj]

    @property
    def label(self) -> str:
        """As in llama-bench: ``pp512``, ``tg128 @ d2048``, or both as ``pp512+tg128``.

        A medium stands before: ``audio+pp512+tg128``.
        """
        parts = [self.medium.name] if self.medium else []
        parts += [f"pp{self.n_prompt}"] * (self.n_prompt > 0)
        parts += [f"tg{self.n_gen}"] * (self.n_gen > 0)
        return "+".join(parts) + (f" @ d{self.n_depth}" if self.n_depth else "")

    @property
    def recorded_settings(self) -> dict[str, Any]:
        """Settings by name, as results show them; none of a server."""
        if self.is_remote:
            return {}
        if self.medium is None:
            return self._engine_settings
        assert self.model.mmproj is not None
        mmproj = {"mmproj": self.model.mmproj.name}
        return {**self._engine_settings, **mmproj, **self.medium.recorded_settings}

    @property
    def _engine_settings(self) -> dict[str, Any]:
        values = asdict(self.settings)
        return {name: value for name, value in values.items() if name not in _OF_THE_CASE}

    def to_json(self) -> dict[str, Any]:
        """Plain values that ``from_json`` reads, of a case that runs here."""
        return {
            "model": self.model.name,
            "path": str(self.path),
            "mmproj": self.model.mmproj and str(self.model.mmproj),
            "n_prompt": self.n_prompt,
            "n_gen": self.n_gen,
            "n_depth": self.n_depth,
            "settings": self._engine_settings,
            "device": self.device,
            "least_ctx": self.least_ctx,
            "medium": self.medium and self.medium.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], named_sizes: tuple[NamedSize, ...]) -> Case:
        """The case that ``to_json`` wrote."""
        mmproj, medium = values["mmproj"], values["medium"]
        return cls(
            model=BenchModel(values["model"], Path(values["path"]), mmproj and Path(mmproj)),
            medium=medium and Medium.from_json(medium),
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
        media: What prompts begin with; None for text alone.
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
    media: Sequence[Medium | None] = (None,)

    def expand(self) -> list[Case]:
        """All cases, each once, the model changing slowest.

        Raises:
            UsageError: a value that makes no sense.
        """
        return list(dict.fromkeys(self._combine()))

    def _combine(self) -> Iterator[Case]:
        ways = [(device, how) for device in self.devices for how in self._list_settings(device)]
        lengths = (self.n_depth, self.n_prompt, self.n_gen)
        axes = (self.models, ways, self.media, *lengths)
        for model, (device, how), medium, n_depth, n_prompt, n_gen in itertools.product(*axes):
            yield Case(model, n_prompt, n_gen, n_depth, how, device, self.least_ctx, medium)
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
