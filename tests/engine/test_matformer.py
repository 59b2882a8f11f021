"""Nested sizes: as transformers computes them, as files of their own, switched while running."""

from dataclasses import replace

import numpy as np
import psutil
import pytest

from g3n_cli.bench.synthetic import SHAPES, make_model
from g3n_cli.config import EngineSettings, NamedSize
from g3n_cli.convert.slice import write_slice
from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.matformer import SizeResolver
from g3n_cli.engine.prompt import Prompt
from g3n_cli.engine.runner import Gemma3nEngine
from g3n_cli.engine.validate import open_model
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
WITHOUT_OWNER = "256*2,-,256*9"


def open_parent(**settings) -> Gemma3nEngine:
    return open_case(find_case("mat12", "q8_0"), **settings)


def make_resolver(case, named=()):
    gguf = open_model(case.path)
    return SizeResolver(gguf, HParams.from_gguf(gguf), named, 32)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(*way.values()))
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
            # The reference has float32 weights: eight bits are further away from it.
            assert difference.max() < (1e-2 if case.kind == "f32" else 2.0)
            assert difference.mean() < (2e-3 if case.kind == "f32" else 0.3)
    engine.close()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(*way.values()))
@pytest.mark.parametrize("name", SLICES)
@pytest.mark.parametrize("case", PARENTS, ids=str)
def test_a_size_of_the_parent_equals_a_file_of_its_own(case, name, way, tmp_path):
    gguf = open_model(case.path)
    hparams, path = HParams.from_gguf(gguf), tmp_path / "slice.gguf"
    write_slice(gguf, hparams, make_resolver(case).resolve(SLICES[name]), path)
    prompt, child = random_prompt(70), open_model(path)
    with_size = open_case(case, size=SLICES[name], **way)
    settings = EngineSettings(n_ctx=256, n_batch=32, n_threads=2, **way)
    alone = Gemma3nEngine(child, HParams.from_gguf(child), "slice", settings)
    found, wanted = with_size.prefill(prompt), alone.prefill(prompt)
    # What ggml has repacked rounds otherwise than what it has not.
    tolerance = 1e-3 if way == {"kernels": "ggml"} else 0
    assert np.abs(found - wanted).max() <= tolerance
    assert np.abs(with_size.decode(7) - alone.decode(7)).max() <= tolerance
    with_size.close()
    alone.close()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(*way.values()))
def test_switching_and_reading_again_equals_a_fresh_run(way):
    prompt = random_prompt(40)
    engine = open_parent(**way)
    engine.prefill(prompt)
    for size in ("128*12", "full", SLICES["mixed_skip28"], "96*12", "full", WITHOUT_OWNER, "full"):
        engine.resize(size, recompute=True)
        fresh = open_parent(size=size, **way)
        assert np.array_equal(engine.prefill(prompt), fresh.prefill(prompt)), size
        fresh.close()
    engine.close()


def test_positions_from_before_a_change_count_while_the_conversation_goes_on():
    prompt = random_prompt(60)
    engine = open_parent()
    engine.prefill(prompt.slice(0, 40))
    engine.resize("128*12")
    assert engine.n_past == 40
    mixed = engine.prefill(prompt)
    fresh = open_parent(size="128*12")
    assert not np.array_equal(mixed, fresh.prefill(prompt))
    # Another conversation begins alike: what another size computed is of no use to it.
    other = Prompt.of_ids([*prompt.ids[:30], 5, 6, 7])
    fresh.trim(0)
    assert np.array_equal(engine.prefill(other), fresh.prefill(other))
    engine.close()
    fresh.close()


def test_positions_without_kv_of_a_layer_that_comes_back_are_computed_again():
    prompt = random_prompt(60)
    engine = open_parent()
    engine.prefill(prompt.slice(0, 20))
    engine.resize(WITHOUT_OWNER)
    engine.prefill(prompt.slice(0, 45))
    engine.resize("full")
    assert engine.n_past == 20
    fresh = open_parent()
    assert np.array_equal(engine.prefill(prompt), fresh.prefill(prompt))
    engine.close()
    fresh.close()


def test_prompts_can_be_read_by_another_size():
    prompt = random_prompt(60)
    engine = open_parent(prefill_size="128*12")
    by_hand = open_parent(size="128*12")
    by_hand.prefill(prompt.slice(0, 59))
    by_hand.resize("full")
    wanted = by_hand.decode(int(prompt.ids[-1]))
    assert np.array_equal(engine.prefill(prompt), wanted)
    assert engine.info.size == "full"
    # The next turn reuses both kinds of positions.
    engine.prefill(random_prompt(70))
    engine.close()
    by_hand.close()


@pytest.mark.parametrize(
    ("size", "fault"),
    [
        ("huge", "no size is called 'huge'"),
        ("", "no size is called"),
        ("128*11", "11 layers, the model has 12"),
        ("100*12", "100 is no multiple of 32"),
        ("512*12", "a width of 256, not of 512"),
        ("256*4,-,256*7", "layer 4 cannot be left out"),
        ("1%", "too small"),
        ("1b", None),
    ],
)
def test_sizes_that_cannot_be_are_refused_and_change_nothing(size, fault):
    prompt = random_prompt(9)
    engine = open_parent()
    before = engine.prefill(prompt)
    if fault is None:
        engine.resize(size)  # more than there is gives all there is
    else:
        with pytest.raises(UsageError, match=fault):
            engine.resize(size)
        assert engine.info.size == "full"
    engine.trim(0)
    assert np.array_equal(engine.prefill(prompt), before)
    engine.close()


def test_shares_and_numbers_of_parameters_are_the_largest_sizes_below_them():
    case = find_case("mat12", "q8_0")
    named = NamedSize("tiny", ("t",), 12, 256, (64,) * 6 + (0, 0) + (64,) * 4)
    resolver = make_resolver(case, [named, NamedSize("other", (), 35, 16384, (8192,) * 35)])
    assert [size.name for size in resolver.offered] == ["full", "tiny"]
    assert resolver.resolve(" T ").widths == named.widths
    n_bytes = [resolver.count_bytes(size.widths) for size in resolver.offered]
    assert resolver.find_fitting(n_bytes[0]).name == "full"
    assert resolver.find_fitting(n_bytes[0] - 1).name == "tiny"
    assert resolver.find_fitting(0).name == "tiny"
    full, counts = resolver.count_params(resolver.resolve("full").widths), []
    for share in (100, 95, 90, 80, 75):
        size = resolver.resolve(f"{share}%")
        counts.append(resolver.count_params(size.widths))
        assert counts[-1] <= full * share / 100
    assert counts[0] == full
    assert counts == sorted(counts, reverse=True)
    assert counts[1] > full * 0.92
    assert resolver.resolve(f"{full / 1e6}m").widths == resolver.resolve("full").widths


def test_weights_that_stay_resident_change_nothing_but_memory():
    prompt = random_prompt(40)
    engine, wanted = open_parent(keep_resident=True, size="128*12"), open_parent(size="128*12")
    for size in ("128*12", "full", SLICES["mixed_skip28"]):
        read = []
        engine.resize(
            size, recompute=True, on_progress=lambda *amounts, to=read: to.append(amounts)
        )
        wanted.resize(size, recompute=True)
        assert read == [], "nothing is read again"
        assert np.array_equal(engine.prefill(prompt), wanted.prefill(prompt))
    engine.close()
    wanted.close()


@pytest.mark.parametrize("way", WAYS[:2], ids=lambda way: str(*way.values()))
@pytest.mark.parametrize("stop_at", [1, 5, 20])
def test_a_change_that_is_interrupted_leaves_the_size_as_it_was(stop_at, way):
    prompt = random_prompt(40)
    engine = open_parent(size="128,256,-,192,256,128,256,64,-,128,192,256", **way)
    wanted, seen = engine.prefill(prompt), []

    def interrupt(done, total):
        seen.append((done, total))
        if len(seen) == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.resize("256*2,128,256*9", recompute=True, on_progress=interrupt)
    assert seen[-1][0] < seen[-1][1]
    assert engine.info.size == "128,256,-,192,256,128,256,64,-,128,192,256"
    engine.trim(0)
    assert np.array_equal(engine.prefill(prompt), wanted)
    engine.resize("full", recompute=True)
    fresh = open_parent(**way)
    assert np.array_equal(engine.prefill(prompt), fresh.prefill(prompt))
    engine.close()
    fresh.close()


def test_a_size_as_wide_as_the_model_is_another_name_of_full():
    named = [NamedSize("all", ("e2b",), 12, 256, (256,) * 12)]
    resolver = make_resolver(find_case("mat12", "q8_0"), named)
    assert [size.name for size in resolver.offered] == ["full"]
    assert resolver.resolve("all") == resolver.resolve("e2b") == resolver.resolve("full")


def open_random(path, **settings):
    gguf = open_model(path)
    return Gemma3nEngine(gguf, HParams.from_gguf(gguf), "m", EngineSettings(n_ctx=64, **settings))


@pytest.mark.parametrize("width", [1024, 512, 96, 32], ids=str)
def test_widths_inside_a_piece_of_a_repacked_matrix_compute_the_same(width, tmp_path, monkeypatch):
    path, prompt = tmp_path / "model.gguf", random_prompt(9)
    monkeypatch.setitem(SHAPES, "tiny", replace(SHAPES["tiny"], n_ff=1024))  # pieces of 64
    make_model("tiny", "q8_0", path)
    pieces = open_random(path, kernels="ggml")
    pieces.resize(f"{width}*30")
    plain = open_random(path, repack=False, size=f"{width}*30")
    found, wanted = (engine.compute_all_logits(prompt) for engine in (pieces, plain))
    assert np.abs(found - wanted).max() < 1e-3 * np.abs(wanted).max()
    pieces.close()
    plain.close()


@pytest.mark.parametrize("way", WAYS[:2], ids=lambda way: str(*way.values()))
def test_memory_of_what_a_size_leaves_out_is_given_back(way, tmp_path):
    path = tmp_path / "model.gguf"
    make_model("tiny", "q8_0", path)
    engine = open_random(path, **way)
    memory = psutil.Process().memory_info
    engine.prefill(random_prompt(9))
    sizes, held = ("256*20,-*8,256*2", "full"), []
    for turn in range(20):
        engine.resize(sizes[turn % 2])
        held.append(memory().rss)
    engine.close()
    # A quarter of the layers and half of the other FFNs are 11 MB of weights.
    assert held[0] + (6 << 20) < held[1]
    assert abs(held[-1] - held[1]) < 1 << 20, "switching leaks"
