"""Nested sizes: as transformers computes them, as files of their own, and switched while running."""

import json

import numpy as np
import psutil
import pytest

from g3n_cli.config import NamedSize
from g3n_cli.convert.slice import write_slice
from g3n_cli.engine.gguf import GgufFile
from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.matformer import Size, SizeResolver
from g3n_cli.engine.open import open_engine
from g3n_cli.config import EngineSettings
from g3n_cli.engine.prompt import Prompt
from g3n_cli.errors import UsageError
from tests.oracle import CASES, N_PROMPTS, find_case, open_case, random_prompt

SLICES = {
    "half": "128*12",
    "mixed": "256,128,192,256,160,224,128,256,64,192,128,256",
    "half_skip678": "128*6,-*3,128*3",
    "mixed_skip28": "128,256,-,192,256,128,256,64,-,128,192,256",
}
WAYS = [{"kernels": "own"}, {"kernels": "ggml"}, {"repack": False}]

PARENTS = [case for case in CASES if case.model == "mat12"]


def make_engine(kind, **settings):
    return open_case(find_case("mat12", kind), **settings)


@pytest.mark.parametrize("way", WAYS, ids=lambda w: str(*w.values()))
@pytest.mark.parametrize("prefill", ["skip", "full"])
@pytest.mark.parametrize("name", SLICES)
@pytest.mark.parametrize("case", PARENTS, ids=str)
def test_slices_agree_with_transformers(case, name, prefill, way):
    arrays = case.load()
    engine = open_case(case, size=SLICES[name], prefill=prefill, kv="f32", **way)
    for i in range(N_PROMPTS):
        prompt = Prompt.of_ids(arrays[f"prompt_{i}"])
        wanted = arrays[f"slice.{name}.logits_{i}"]
        last = engine.prefill(prompt)
        every = engine.compute_all_logits(prompt)[-len(wanted) :]
        for found in (every, np.stack([*every[:-1], last])):
            difference = np.abs(found - wanted)
            # The slices' references have float32 weights, so 8 bits are further away from them.
            assert difference.mean() < (1e-3 if case.kind == "f32" else 0.3)
            assert difference.max() < (1e-2 if case.kind == "f32" else 2.0)
    engine.close()
