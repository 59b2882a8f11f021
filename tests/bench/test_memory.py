import mmap
from pathlib import Path

import pytest

from g3n_cli.bench import memory
from g3n_cli.bench.memory import PARTS, Counters, build_ledger
from g3n_cli.errors import UsageError
from g3n_cli.ggml.handles import address_of

ROLLUP = """\
55d0-7ffd ---p 00000000 00:00 0                          [rollup]
Rss:                1000 kB
Pss:                 900 kB
Shared_Clean:        150 kB
Private_Clean:       250 kB
Private_Dirty:       600 kB
Anonymous:           590 kB
"""
KIB = 1024


def test_parts_add_up_to_what_is_resident():
    named = {"weights": 300 * KIB, "kv": 50 * KIB, "compute": 40 * KIB, "ple": 10 * KIB}
    ledger = build_ledger(ROLLUP, named, mapped=200 * KIB, python_bytes=100 * KIB)
    assert sum(ledger.parts.values()) == ledger.rss_bytes == 1000 * KIB
    assert ledger.parts.keys() == PARTS.keys()
    assert ledger.parts["other"] == 90 * KIB
    assert ledger.parts["libraries"] == 210 * KIB
    assert (ledger.uss_bytes, ledger.reclaimable_bytes) == (850 * KIB, 400 * KIB)


def test_only_touched_pages_of_a_range_count():
    page = mmap.PAGESIZE
    with mmap.mmap(-1, 16 * page, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        block[0] = block[5 * page] = block[6 * page] = 1
        ranges = {"kv": [(address_of(block), 16 * page)]}
        ledger = memory.read_ledger(ranges, Path("none.gguf"), 0)
    assert ledger.parts["kv"] == 3 * page


def test_pages_of_the_mapped_file_are_weights(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"x" * 64 * mmap.PAGESIZE)
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as m,
    ):
        assert m[0] == m[40 * mmap.PAGESIZE] == ord("x")
        ledger = memory.read_ledger({}, path, 0)
    assert 2 * mmap.PAGESIZE <= ledger.parts["mapped_weights"] <= 64 * mmap.PAGESIZE
    assert memory.read_ledger({}, path, 0).parts["mapped_weights"] == 0


def test_the_whole_agrees_with_the_kernel():
    ledger = memory.read_ledger({}, Path("none.gguf"), memory.read_anonymous_bytes())
    assert abs(ledger.rss_bytes - memory.read_rss_bytes()) < 0.03 * ledger.rss_bytes
    assert ledger.uss_bytes <= ledger.pss_bytes <= ledger.rss_bytes


def test_a_peak_is_forgotten():
    block = bytearray(b"x") * (64 << 20)
    assert len(block) == 64 << 20
    peak = memory.read_peak_rss_bytes()
    del block
    memory.forget_peak()
    assert memory.read_peak_rss_bytes() < peak - (32 << 20)


def test_counters_are_told_as_differences():
    before = Counters(10, 1, 4096, 2, 0.5)
    assert Counters(15, 1, 8192, 4, 0.75).since(before) == Counters(5, 0, 4096, 2, 0.25)


def test_a_kernel_that_hides_things_is_told_or_done_without(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_PROC", tmp_path)
    with pytest.raises(UsageError, match="needs Linux"):
        memory.check_kernel()
    counters = memory.read_counters()
    assert counters.read_bytes is None
    assert counters.since(counters).read_bytes is None
    (tmp_path / "smaps_rollup").write_text(ROLLUP)
    (tmp_path / "smaps").write_text("")
    memory.check_kernel()
    ledger = memory.read_ledger({"kv": [(4096, 12345)]}, Path("none.gguf"), 0)
    assert ledger.parts["kv"] == 12345


def test_a_process_that_has_ended_has_no_memory():
    assert memory.read_rss_bytes(2**22 + 1) == 0
