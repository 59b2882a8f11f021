"""Tiny Gemma 3n models with transformers' float32 logits: in the repository, and more beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from g3n_cli.config import EngineSettings
from g3n_cli.engine.gemma3n import StepShape
from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.prompt import Prompt
from g3n_cli.engine.runner import Gemma3nEngine
from g3n_cli.engine.validate import open_model

_ROOT = Path(__file__).parent
_FOLDERS = (_ROOT / "data" / "oracle", _ROOT.parents[1] / "shared" / "oracle")
N_PROMPTS = 6
WINDOWS = {"noshare5": 16, "odd7": 20, "small8": 24}


@dataclass(frozen=True)
class Case:
    """One weight file and what it must compute.

    Attributes:
        model: Name of the tiny model.
        kind: Type of its weights: f32, q8_0, ...
        path: The GGUF file.
        arrays: Its ``oracle.npz``.
    """

    model: str
    kind: str
    path: Path
    arrays: Path

    def __str__(self) -> str:
        return f"{self.model}-{self.kind}"

    def load(self) -> dict[str, np.ndarray]:
        with np.load(self.arrays) as arrays:
            return dict(arrays)


def find_cases() -> list[Case]:
    """Every weight file at hand, once."""
    found: dict[tuple[str, str], Case] = {}
    for folder in _FOLDERS:
        for path in sorted(folder.glob("*/model-*.gguf")):
            model, kind = path.parent.name, path.stem.removeprefix("model-")
            found.setdefault((model, kind), Case(model, kind, path, path.parent / "oracle.npz"))
    return list(found.values())


CASES = find_cases()


def find_case(model: str, kind: str) -> Case:
    return next(case for case in CASES if (case.model, case.kind) == (model, kind))


def open_case(case: Case, taps: frozenset[str] = frozenset(), **settings: object) -> Gemma3nEngine:
    """An engine on a case, with a context of 256 and batches of 32 unless told otherwise."""
    gguf = open_model(case.path)
    defaults = {"n_ctx": 256, "n_batch": 32, "n_threads": 2}
    return Gemma3nEngine(
        gguf, HParams.from_gguf(gguf), str(case), EngineSettings(**{**defaults, **settings}), taps
    )


def random_prompt(n: int, seed: int = 0, n_vocab: int = 512) -> Prompt:
    """Ordinary tokens of the tiny vocabularies after a beginning-of-text token."""
    return Prompt.of_ids([2, *np.random.default_rng(seed).integers(120, n_vocab, n - 1)])


def make_shape(engine: Gemma3nEngine, *extents: int) -> StepShape:
    """Shape of a step of the size that the engine has; see ``StepShape`` for the extents."""
    return StepShape(*extents, engine._model.size.widths)
