"""What is estimated beforehand, against what an engine then has in memory."""

from dataclasses import replace

import pytest

from g3n_cli.bench.memory import read_ledger
from g3n_cli.config import EngineSettings
from g3n_cli.engine.estimate import estimate
from g3n_cli.engine.fit import check_fits, find_fitting
from g3n_cli.engine.open import open_engine
from g3n_cli.engine.validate import open_model
from g3n_cli.errors import DoesNotFitError, ExitCode, UsageError
from g3n_cli.registry.models import read_sizes, resolve
from tests.model_files import find_smollm2
from tests.oracle import find_case, random_prompt

MINI = resolve("g3n-mini").path
TOLERANCE = 0.05
N_TURNS = 6


def make_settings(**changes):
    return EngineSettings(n_ctx=1024, named_sizes=read_sizes(), **changes)


def fill(engine):
    """A full batch at the end of a full context, then turns enough for all snapshots."""
    n = engine.n_ctx
    engine.prefill(random_prompt(n))
    engine.trim(0)
    for turn in range(1, N_TURNS + 1):
        engine.prefill(random_prompt(n * turn // N_TURNS))


CASES = [
    (MINI, {}),
    (MINI, {"size": "small"}),
    (MINI, {"kv": "q8_0"}),
    (MINI, {"kv": "f32", "ple": "ram"}),
    (MINI, {"size": "small", "keep_resident": True}),
    (MINI, {"n_batch": 64, "prefill": "full"}),
    (MINI, {"kernels": "ggml"}),
    (find_case("mat12", "q8_0").path, {"size": "128*12"}),
    (find_case("kquant3", "q4_k_m").path, {}),
    (find_case("small8", "f32").path, {}),
]


@pytest.mark.parametrize(("path", "changes"), CASES, ids=str)
def test_parts_are_what_the_engine_then_has(path, changes):
    settings = make_settings(**changes)
    found = estimate(open_model(path), settings)
    engine = open_engine(path, "model", settings)
    try:
        fill(engine)
        reserved = {
            part: sum(n_bytes for _, n_bytes in ranges)
            for part, ranges in engine.memory_ranges.items()
        }
        resident = read_ledger(engine.memory_ranges, path, 0).parts
    finally:
        engine.close()
    assert resident["weights"] == pytest.approx(found.weights, rel=TOLERANCE, abs=0)
    assert reserved["compute"] == pytest.approx(found.compute, rel=TOLERANCE)
    if "size" not in changes:  # rows of layers that are left out are reserved and never touched
        assert reserved["kv"] == pytest.approx(found.kv + found.snapshots, rel=TOLERANCE)
    assert reserved["ple"] == pytest.approx(found.ple, rel=TOLERANCE)


def test_what_lies_in_the_file_is_counted_there():
    path = find_case("small8", "f32").path
    gguf = open_model(path)
    on_disk, in_ram = (estimate(gguf, make_settings(ple=ple)) for ple in ("disk", "ram"))
    table = gguf.tensors["per_layer_token_embd.weight"].n_bytes
    unused = sum(gguf.tensors[f"blk.7.attn_{p}.weight"].n_bytes for p in ("k", "v", "k_norm"))
    assert in_ram.ple == table
    assert on_disk.left_on_disk - in_ram.left_on_disk == table
    assert on_disk.left_on_disk >= table + unused
    assert on_disk.file_bytes == path.stat().st_size


def test_a_smaller_size_takes_less():
    gguf = open_model(MINI)
    sizes = [estimate(gguf, make_settings(size=s)).total for s in ("full", "medium", "small")]
    assert sizes == sorted(sizes, reverse=True)


def test_of_other_models_weights_and_kv_are_known():
    gguf = open_model(find_smollm2())
    found = estimate(gguf, make_settings())
    assert found.mapped_weights == sum(info.n_bytes for info in gguf.tensors.values())
    assert found.kv == 30 * 3 * (64 + 64) * 2 * 1024  # layers, K/V heads, widths, float16
    assert estimate(gguf, make_settings(kv="q8_0")).kv == found.kv * 34 // 64


# ---------------------------------------------------------------------------------------- fitting


def test_more_than_the_free_memory_is_refused_with_numbers_and_settings():
    gguf, settings = open_model(MINI), make_settings(ple="ram")
    needed = estimate(gguf, settings).total
    with pytest.raises(DoesNotFitError, match=r"mini needs \d+ MB of memory, .* free") as caught:
        check_fits(gguf, settings, "mini", lambda: needed - 1)
    assert caught.value.exit_code is ExitCode.MEMORY == 5
    assert caught.value.hint.startswith("--ple disk fits; --kv q8_0 fits; --ctx ")
    check_fits(gguf, settings, "mini", lambda: needed)


@pytest.mark.parametrize("share", [0.99, 0.97, 0.9, 0.8])
def test_every_setting_that_is_named_fits(share):
    gguf, settings = open_model(MINI), make_settings(kv="f32")
    free = int(estimate(gguf, settings).total * share)
    fitting = find_fitting(gguf, settings, free)
    assert fitting
    for flags in fitting:
        words = flags.split()
        values = {
            name.removeprefix("--"): v for name, v in zip(words[::2], words[1::2], strict=True)
        }
        if "ctx" in values:
            values["n_ctx"] = int(values.pop("ctx"))
        assert estimate(gguf, replace(settings, **values)).total <= free


def test_the_longest_context_that_fits_is_named():
    gguf, settings = open_model(MINI), make_settings()
    free = estimate(gguf, replace(settings, n_ctx=768)).total
    assert "--ctx 768" in find_fitting(gguf, settings, free)
    assert "--ctx 768" not in find_fitting(gguf, settings, free - 1)


def test_where_nothing_fits_nothing_is_named():
    gguf, settings = open_model(MINI), make_settings()
    assert find_fitting(gguf, settings, 1_000_000) == []
    with pytest.raises(DoesNotFitError) as caught:
        check_fits(gguf, settings, "mini", lambda: 1_000_000)
    assert caught.value.hint == "close other programs or choose a smaller model"


def test_a_size_that_does_not_exist_is_no_question_of_memory():
    with pytest.raises(UsageError, match="no size is called"):
        check_fits(open_model(MINI), make_settings(size="huge"), "mini", lambda: 1 << 60)
