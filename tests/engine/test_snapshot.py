"""K/V on disk: as good as computed, and refused where it does not fit."""

import io
import json
import os

import numpy as np
import pytest

from g3n_cli.engine.prompt import Prompt
from g3n_cli.engine.snapshot import StateError
from tests.oracle import find_case, open_case, random_prompt

MODEL = ("mat12", "q8_0")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.npz"


def open_model(model=MODEL, **settings):
    return open_case(find_case(*model), **settings)


def write_saved(path, n=200, **settings):
    """K/V of a prompt longer than the sliding window, and of two tokens after it."""
    engine = open_model(**settings)
    engine.prefill(random_prompt(n))
    engine.decode(5)
    engine.decode(6)
    assert engine.save_state(path) == path.stat().st_size
    return engine


@pytest.mark.parametrize("kv", ["f32", "f16", "q8_0"])
@pytest.mark.parametrize("n", [3, 60, 200])
def test_going_on_equals_having_computed(path, kv, n):
    engine = write_saved(path, n, kv=kv)
    later = open_model(kv=kv)
    assert later.load_state(path) == n + 2
    longer = Prompt.of_ids([*random_prompt(n).ids, 5, 6, *range(20, 40)])
    assert np.array_equal(later.prefill(longer), engine.prefill(longer))
    assert np.array_equal(later.decode(9), engine.decode(9))
    engine.close()
    later.close()


def test_another_batch_size_or_context_is_no_hindrance(path):
    engine = write_saved(path, model=("odd7", "f32"), kv="f32")
    later = open_model(("odd7", "f32"), n_ctx=230, n_batch=16, kv="f32")
    later.load_state(path)
    # The ring's rows lie elsewhere, so that sums add up in another order.
    assert np.abs(later.decode(9) - engine.decode(9)).max() < 1e-3
    engine.close()
    later.close()


def test_positions_keep_the_size_that_computed_them(path):
    write_saved(path, size="128*12").close()
    later = open_model()
    later.load_state(path)
    fresh = open_model()
    prompt = random_prompt(200)
    assert np.array_equal(later.prefill(prompt), fresh.prefill(prompt))
    later.close()
    fresh.close()


def test_only_its_owner_reads_the_file(path):
    write_saved(path, 3).close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("changed", [{"kv": "q8_0"}, {"repack": False}, {"n_ctx": 100}])
def test_other_settings_are_refused_and_change_nothing(path, changed):
    write_saved(path).close()
    later = open_model(**changed)
    later.prefill(random_prompt(9))
    with pytest.raises(StateError):
        later.load_state(path)
    assert later.n_past == 9
    later.close()


def test_another_model_is_refused(path):
    write_saved(path).close()
    later = open_case(find_case("small8", "q8_0"))
    with pytest.raises(StateError, match="another model"):
        later.load_state(path)
    later.close()


def test_damaged_files_are_refused(path):
    write_saved(path, 60).close()
    whole = path.read_bytes()
    later = open_model()
    random = np.random.default_rng(0)
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(StateError):
            later.load_state(path)
    for at in random.integers(0, len(whole), 40):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            later.load_state(path)
        except StateError:
            continue
        assert later.decode(5).shape  # a byte that nothing reads
    later.close()


@pytest.mark.parametrize(
    "change",
    [
        {"keys": [[1, 2, 3]]},
        {"keys": "abc"},
        {"keys": [1.5] * 5 + ["x"]},
        {"size_of": [7] * 62},
        {"n_kept": None},
        {"sizes": 3},
        {"follows": 3},
        {"follows": {"file": 3}},
        {"follows": {"file": "../state.npz", "digest": ""}},
    ],
)
def test_states_that_make_no_sense_are_refused(path, change):
    write_saved(path, 60).close()
    with np.load(path) as arrays:
        contents = dict(arrays)
    meta = json.loads(contents["meta"].tobytes()) | change
    contents["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    file = io.BytesIO()
    np.savez(file, **contents)
    path.write_bytes(file.getvalue())
    later = open_model()
    with pytest.raises(StateError):
        later.load_state(path)
    later.close()


@pytest.fixture
def beginning(tmp_path):
    """K/V of 200 tokens, more than the sliding window."""
    engine = open_model()
    engine.prefill(random_prompt(200))
    engine.save_state(tmp_path / "beginning.npz")
    engine.close()
    return tmp_path / "beginning.npz"


def go_on(engine, beginning, ids):
    """From what a file holds, as conversations with one system text do."""
    engine.load_state(beginning)
    return engine.prefill(Prompt.of_ids([*random_prompt(200).ids, *ids]))


@pytest.mark.parametrize("n_begun", [20, 60, 200])
@pytest.mark.parametrize("n_more", [1, 5, 40])
@pytest.mark.parametrize("kv", ["f16", "q8_0"])
def test_what_another_file_holds_is_left_out_and_read_from_there(path, n_begun, n_more, kv):
    engine, later = open_model(kv=kv), open_model(kv=kv)
    beginning = path.with_name("beginning.npz")
    engine.prefill(random_prompt(n_begun))
    n_bytes = engine.save_state(beginning)
    for token in range(n_more):
        engine.decode(token)
    n_whole = engine.save_state(path)
    assert engine.save_state(path, beginning) < n_whole
    assert n_more > 5 or path.stat().st_size < n_bytes
    assert later.load_state(path) == n_begun + n_more
    assert np.array_equal(later.decode(9), engine.decode(9))
    engine.close()
    later.close()


def test_a_beginning_that_is_gone_or_another_is_refused(path, beginning):
    engine = open_model()
    go_on(engine, beginning, [5, 6])
    engine.save_state(path, beginning)
    as_it_was = beginning.read_bytes()
    beginning.unlink()
    with pytest.raises(StateError, match="not kept any more"):
        engine.load_state(path)
    engine.prefill(Prompt.of_ids([7, *random_prompt(199).ids]))
    engine.save_state(beginning)
    with pytest.raises(StateError, match="computed again since"):
        engine.load_state(path)
    beginning.write_bytes(as_it_was)
    assert engine.load_state(path) == 202
    engine.save_state(beginning, path)
    with pytest.raises(StateError):  # one that begins with itself
        engine.load_state(path)
    engine.close()


def test_a_beginning_that_was_written_again_is_the_same(path, beginning):
    engine = open_model()
    go_on(engine, beginning, [5, 6])
    engine.save_state(path, beginning)
    beginning.unlink()
    engine.trim(0)
    engine.prefill(random_prompt(200))
    engine.save_state(beginning)
    assert engine.load_state(path) == 202
    engine.close()


def change_a_row(beginning):
    """As good, but not what the conversation was computed with."""
    with np.load(beginning) as arrays:
        contents = dict(arrays)
    contents["k0"][-1, 0] ^= 1
    np.savez(beginning, **contents)


@pytest.mark.parametrize("change", ["rows", "tokens", "size", "gone", "damaged"])
def test_nothing_is_left_out_that_the_file_does_not_hold(path, beginning, change):
    engine = open_model()
    ids = [*random_prompt(200).ids, 5, 6]
    if change == "tokens":
        ids[100] += 1
    if change == "size":
        engine.resize("128*12")
    engine.prefill(Prompt.of_ids(ids))
    if change == "rows":
        change_a_row(beginning)
    elif change == "damaged":
        beginning.write_bytes(beginning.read_bytes()[:-100])
    elif change == "gone":
        beginning.unlink()
    engine.save_state(path, beginning)
    beginning.unlink(missing_ok=True)
    assert engine.load_state(path) == 202
    engine.close()
