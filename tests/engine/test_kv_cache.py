import numpy as np
import pytest

from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.kv_cache import STEP_MULTIPLE, KvCache
from g3n_cli.engine.validate import open_model
from g3n_cli.errors import UsageError
from g3n_cli.ggml.handles import read_tensor, write_tensor
from tests.oracle import find_case

WINDOW, N_BATCH, N_CTX = 24, 8, 256


@pytest.fixture
def cache():
    hparams = HParams.from_gguf(open_model(find_case("small8", "f32").path))
    cache = KvCache(hparams, N_CTX, N_BATCH, "f32")
    yield cache
    cache.close()


def write(cache: KvCache, n: int) -> None:
    """A step of ``n`` positions that leaves its position number in every row of layer 0."""
    positions = np.arange(cache.n_past, cache.n_past + n)
    for row, position in zip(cache.reserve(n), positions, strict=True):
        tensor = cache.keys[0]
        values = np.full(tensor.ne[0], position, np.float32)
        write_tensor(tensor, values, int(row) * tensor.nb[1])
    cache.commit(n)


def fill(cache: KvCache, n: int) -> None:
    while n:
        step = min(n, N_BATCH)
        write(cache, step)
        n -= step


def window_of(cache: KvCache) -> list[int]:
    """Positions that a step at ``n_past`` sees in layer 0, as found in memory."""
    seen = cache.ring_mask(1, cache.n_ring)[0] == 0
    rows = np.empty((cache.n_ring, cache.keys[0].ne[0]), np.float32)
    read_tensor(cache.keys[0], rows)
    seen[cache.n_past % cache.n_ring] = False  # the step's own row, not written yet
    return sorted(int(v) for v in rows[seen, 0])


def test_ring_holds_window_and_filled_up_batch(cache):
    assert cache.n_ring == WINDOW + N_BATCH + STEP_MULTIPLE - 1
    assert cache.keys[0].ne[1] == cache.n_ring
    assert cache.keys[1].ne[1] == N_CTX  # a full layer
    assert set(cache.keys) == {0, 1, 2, 3, 4}  # the owners


@pytest.mark.parametrize("n_past", [0, 5, 23, 24, 34, 35, 36, 100])
def test_next_step_sees_the_last_window(cache, n_past):
    fill(cache, n_past)
    assert window_of(cache) == list(range(max(0, n_past - WINDOW + 1), n_past))


def test_full_mask_is_causal(cache):
    fill(cache, 3)
    mask = cache.full_mask(2, 6)
    assert (mask == 0).tolist() == [[True] * 4 + [False] * 2, [True] * 5 + [False]]


@pytest.mark.parametrize("n_back", range(N_BATCH + 1))
def test_trim_by_up_to_a_batch_stays_in_place(cache, n_back):
    fill(cache, 96)
    assert cache.trim(96 - n_back) == 96 - n_back
    assert window_of(cache) == list(range(96 - n_back - WINDOW + 1, 96 - n_back))


def test_trim_further_back_starts_over_without_a_snapshot(cache):
    fill(cache, 96)
    assert cache.trim(96 - N_BATCH - STEP_MULTIPLE - 1) == 0
    assert window_of(cache) == []


def test_trim_further_back_restores_the_nearest_snapshot(cache):
    for _ in range(3):
        fill(cache, 50)
        cache.save_snapshot()
    fill(cache, 50)
    assert cache.trim(140) == 100
    assert window_of(cache) == list(range(100 - WINDOW + 1, 100))
    fill(cache, 40)
    assert window_of(cache) == list(range(140 - WINDOW + 1, 140))


def test_snapshots_of_a_forgotten_future_are_dropped(cache):
    fill(cache, 50)
    cache.save_snapshot()
    fill(cache, 50)
    cache.save_snapshot()
    assert cache.trim(60) == 50
    fill(cache, 60)
    assert cache.trim(97) == 50, "the snapshot at 100 belonged to other positions"


def test_reserved_rows_count_as_lost_until_committed(cache):
    fill(cache, 96)
    cache.reserve(N_BATCH)
    assert cache.n_past == 96
    assert window_of(cache) == list(range(96 - WINDOW + 1, 96))
    assert cache.trim(91) == 0, "the row of position 68 may have been overwritten"


def test_fresh_memory_is_zero_even_where_it_was_never_written(cache):
    rows = np.full((N_CTX, cache.values[1].ne[0]), np.nan, np.float32)
    read_tensor(cache.values[1], rows)
    assert not rows.any()


def test_type_whose_blocks_do_not_fit_a_head_is_refused():
    hparams = HParams.from_gguf(open_model(find_case("small8", "f32").path))
    narrow = HParams(**{**hparams.__dict__, "n_embd_head_k": 48, "n_embd_head_v": 48})
    with pytest.raises(UsageError, match="--kv q4_0"):
        KvCache(narrow, N_CTX, N_BATCH, "q4_0")
