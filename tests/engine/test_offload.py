"""Layers on a device: another backend of the CPU's, or the one that G3N_TEST_DEVICE names."""

import os

import numpy as np
import pytest

from g3n_cli.config import EngineSettings
from g3n_cli.engine.prompt import Prompt
from g3n_cli.errors import DoesNotFitError, UsageError
from g3n_cli.ggml.device_backend import DeviceBackend
from g3n_cli.ggml.library import load
from tests.engine.test_oracle import assert_close
from tests.oracle import CASES, N_PROMPTS, find_case, open_case, random_prompt

NAMED = os.environ.get("G3N_TEST_DEVICE")
SECOND = "second"
LAYERS = [None, 0, 3]


class SmallDevice(DeviceBackend):
    """A device of which little memory is free."""

    memory_free_bytes = 100_000


@pytest.fixture
def second_cpu(monkeypatch):
    """A device that is the CPU once more, with backend and buffers of its own.

    Or the named one, for the tests that are about any device.
    """
    if NAMED:
        return NAMED
    use_device(monkeypatch, DeviceBackend)
    return SECOND


def use_device(monkeypatch, kind):
    def open_second(_cls, name):
        lib = load()
        return kind(lib.backend_reg_dev_get(lib.backend_cpu_reg(), 0), name)

    monkeypatch.setattr(DeviceBackend, "open", classmethod(open_second))


def test_kernels_are_named_by_what_computes_most_here(second_cpu):
    case = find_case("small8", "q8_0")
    named = {}
    for gpu_layers in (0, None):
        engine = open_case(case, device=second_cpu, gpu_layers=gpu_layers)
        named[gpu_layers] = engine.info.kernels
        engine.close()
    assert (named[0] != "ggml", named[None]) == (True, "ggml")


def assert_agrees_with_transformers(case, **settings):
    arrays = case.load()
    reference = "logits" if case.kind == "f32" else f"{case.kind}.logits"
    engine = open_case(case, **settings)
    for i in range(N_PROMPTS):
        prompt, wanted = Prompt.of_ids(arrays[f"prompt_{i}"]), arrays[f"{reference}_{i}"]
        last = engine.prefill(prompt)
        engine.trim(len(prompt) - len(wanted))
        ids = prompt.ids[engine.n_past :]
        steps = np.stack([engine.decode(int(token)) for token in ids])[-len(wanted) :]
        every = engine.compute_all_logits(prompt)[-len(wanted) :]
        for found in (steps, every, np.stack([*every[:-1], last])):
            assert_close(found, wanted, case, settings.get("kv", "f16"))
    engine.close()


@pytest.mark.parametrize("gpu_layers", LAYERS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_logits_agree_with_transformers(case, gpu_layers, second_cpu):
    assert_agrees_with_transformers(case, device=second_cpu, gpu_layers=gpu_layers)


@pytest.mark.skipif(NAMED is None, reason="G3N_TEST_DEVICE names no device")
@pytest.mark.parametrize("prefill", ["skip", "full"])
@pytest.mark.parametrize("gpu_layers", LAYERS)
def test_logits_of_the_named_device_agree_with_transformers(gpu_layers, prefill):
    for case in CASES:
        for kv in ("f16", "f32"):
            assert_agrees_with_transformers(
                case, device=NAMED, gpu_layers=gpu_layers, prefill=prefill, kv=kv
            )


@pytest.mark.parametrize("gpu_layers", LAYERS)
def test_a_prompt_that_goes_back_is_computed_as_afresh(gpu_layers, second_cpu):
    settings = {"device": second_cpu, "gpu_layers": gpu_layers, "kv": "f32"}
    engine = open_case(find_case("small8", "f32"), **settings)
    first = random_prompt(20)
    longer = Prompt.of_ids([*first.ids, *random_prompt(90, seed=1).ids])
    engine.prefill(first)
    engine.prefill(longer)  # its rings turn: only a snapshot has the window before ``first``'s end
    engine.trim(len(first))
    assert engine.n_past == len(first)
    other = Prompt.of_ids([*first.ids, *random_prompt(9, seed=2).ids])
    again = engine.prefill(other)
    engine.trim(0)
    assert np.abs(engine.prefill(other) - again).max() < 1e-3
    engine.close()


@pytest.mark.parametrize("gpu_layers", LAYERS)
def test_nested_sizes_are_those_of_the_cpu(gpu_layers, second_cpu):
    case, prompt = find_case("mat12", "q8_0"), random_prompt(30)
    on_cpu = open_case(case, repack=False)
    on_device = open_case(case, device=second_cpu, gpu_layers=gpu_layers, repack=False)
    for size in ("128*6,-*3,128*3", "full"):
        on_cpu.resize(size)
        on_device.resize(size)
        wanted, found = on_cpu.prefill(prompt), on_device.prefill(prompt)
        assert np.abs(found - wanted).mean() < 0.1
    on_cpu.close()
    on_device.close()


def test_weights_and_kv_on_a_device_are_not_in_the_memory_of_the_process(second_cpu):
    engine = open_case(find_case("small8", "q8_0"), device=second_cpu)
    engine.prefill(random_prompt(30))
    ranges = engine.memory_ranges
    assert (ranges["weights"], ranges["kv"]) == ([], [])
    engine.close()


def test_a_device_that_is_too_small_tells_how_many_layers_fit(monkeypatch):
    use_device(monkeypatch, SmallDevice)
    with pytest.raises(DoesNotFitError, match=r"[kM]B on second, \d+ kB are free") as failure:
        open_case(find_case("small8", "f32"), device=SECOND)
    n_fit = int(failure.value.hint.split()[1])
    open_case(find_case("small8", "f32"), device=SECOND, gpu_layers=n_fit).close()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"gpu_layers": 3}, "--gpu-layers needs a --device"),
        ({"device": "CPU", "gpu_layers": 3}, "--gpu-layers needs a --device"),
        ({"device": "CUDA0", "gpu_layers": -1}, "below 0"),
        ({"device": "CUDA0", "act": "f32"}, "--act f32 needs the CPU's kernels"),
        ({"device": "CUDA0", "size": "auto"}, "--size auto counts the CPU's memory"),
    ],
)
def test_settings_that_a_device_does_not_allow(settings, fault):
    with pytest.raises(UsageError, match=fault):
        EngineSettings(**settings)
