"""Every oracle model agrees with transformers, whichever way it is run.

Tolerances are those of the oracle's description: what ggml's float16 GELU table and 8-bit
activations cost, with room of two to three times.
"""

import itertools

import numpy as np
import pytest

from g3n_cli.engine.prompt import Prompt
from g3n_cli.errors import UsageError
from g3n_cli.kernels.library import find_variants
from tests.oracle import CASES, N_PROMPTS, Case, open_case

MODES = [
    {"ple": ple, "prefill": prefill, "repack": repack, "kv": kv}
    for ple, prefill, repack, kv in itertools.product(
        ("disk", "ram"), ("skip", "full"), (True, False), ("f32", "f16")
    )
]


def tolerance(case: Case, kv: str) -> tuple[float, float]:
    """(largest, mean) absolute difference allowed."""
    is_deep = case.model == "compat30"
    if case.kind in ("q8_0", "q4_0", "q4_k_m"):
        return (np.inf, 0.35) if is_deep else (0.8, 0.15)
    if case.kind == "bf16":
        return 0.2, np.inf
    if case.kind == "f16" or kv == "f16":
        return (8e-2 if is_deep else 3e-2), np.inf
    return (3e-2 if is_deep else 1e-2), np.inf


def assert_close(found: np.ndarray, wanted: np.ndarray, case: Case, kv: str) -> None:
    largest, mean = tolerance(case, kv)
    difference = np.abs(found - wanted)
    assert difference.max() <= largest
    assert difference.mean() <= mean


KERNELS = [{"kernels": name} for name in ("ggml", *find_variants())]


@pytest.mark.parametrize("mode", [*MODES, *KERNELS], ids=lambda m: "-".join(map(str, m.values())))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_logits_agree_with_transformers(case, mode):
    arrays = case.load()
    reference = "logits" if case.kind == "f32" else f"{case.kind}.logits"
    engine = open_case(case, **mode)
    for i in range(N_PROMPTS):
        prompt = Prompt.of_ids(arrays[f"prompt_{i}"])
        wanted = arrays[f"{reference}_{i}"]
        last = engine.prefill(prompt)
        # The positions before, one by one after a shorter prefill.
        engine.trim(len(prompt) - len(wanted))
        ids = prompt.ids[engine.n_past :]
        steps = np.stack([engine.decode(int(token)) for token in ids])[-len(wanted) :]
        assert_close(steps, wanted, case, mode.get("kv", "f16"))
        every = engine.compute_all_logits(prompt)[-len(wanted) :]
        assert_close(every, wanted, case, mode.get("kv", "f16"))
        # Means are those of all a prompt's positions; a single one says little in 8 bits.
        assert_close(np.stack([*every[:-1], last]), wanted, case, mode.get("kv", "f16"))
    engine.close()


@pytest.mark.parametrize("variant", find_variants())
@pytest.mark.parametrize("prefill", ["skip", "full"])
@pytest.mark.parametrize("case", [c for c in CASES if c.model == "kquant3"], ids=str)
def test_activations_that_are_not_rounded_agree_as_float32_weights_do(case, prefill, variant):
    arrays = case.load()
    engine = open_case(case, kv="f32", act="f32", kernels=variant, prefill=prefill)
    for i in range(N_PROMPTS):
        prompt = Prompt.of_ids(arrays[f"prompt_{i}"])
        wanted = arrays[f"{case.kind}.logits_{i}"]
        last = engine.prefill(prompt)
        every = engine.compute_all_logits(prompt)[-len(wanted) :]
        for found in (every, np.stack([*every[:-1], last])):
            assert np.abs(found - wanted).max() <= 1e-2
    engine.close()


@pytest.mark.parametrize(
    ("model", "way", "fault"),
    [
        ("kquant3", {"kernels": "ggml"}, "weight of type Q.* has none"),
        ("kquant3", {"repack": False}, "weight of type Q.* has none"),
        ("noshare5", {}, "token_embd.weight of type"),
    ],
)
@pytest.mark.parametrize("act", ["f32", "q4"])
def test_kernels_that_round_activations_otherwise_say_so(act, model, way, fault):
    case = next(case for case in CASES if case.model == model and case.kind in ("q4_0", "bf16"))
    with pytest.raises(UsageError, match=fault):
        open_case(case, act=act, **way)


@pytest.mark.parametrize("mode", MODES, ids=lambda m: "-".join(map(str, m.values())))
@pytest.mark.parametrize("case", [c for c in CASES if c.kind == "f32"], ids=str)
def test_greedy_continuations_equal_those_of_transformers(case, mode):
    arrays = case.load()
    engine = open_case(case, **mode)
    for i in range(N_PROMPTS):
        logits = engine.prefill(Prompt.of_ids(arrays[f"prompt_{i}"]))
        found = [int(np.argmax(logits))]
        while len(found) < len(arrays[f"greedy_{i}"]):
            found.append(int(np.argmax(engine.decode(found[-1]))))
        assert found == arrays[f"greedy_{i}"].tolist()
    engine.close()
