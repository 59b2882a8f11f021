import numpy as np
import pytest

from g3n_cli.errors import G3nError, UsageError
from g3n_cli.kernels import build as build_module
from g3n_cli.kernels import library
from g3n_cli.kernels.build import CompilerError, build, find_compiler
from g3n_cli.kernels.library import find_variants, load_kernels
from tests.kernels.references import Q4_0, Q4_K, make_rows

F32, F16 = 0, 1


def test_the_portable_variant_runs_everywhere():
    assert "portable" in find_variants()


def test_own_is_the_best_variant_and_ggml_none():
    fast = [name for name in find_variants() if name != "portable"]
    own = load_kernels("own")
    assert (own.variant if own else "portable") == find_variants()[0]
    assert (own is None) == (not fast)
    assert load_kernels("ggml") is None


def test_the_portable_variant_is_never_chosen_by_itself(monkeypatch):
    monkeypatch.setattr(library, "find_variants", lambda: ("portable",))
    assert load_kernels.__wrapped__("own") is None
    assert load_kernels.__wrapped__("portable").variant == "portable"


def test_an_unknown_variant_names_those_that_run():
    with pytest.raises(UsageError, match="--kernels sse2 does not run here") as caught:
        load_kernels("sse2")
    assert "portable" in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "ne"),
    [
        (F16, (24, 32)),
        (F32, (64, 32)),
        (Q4_K, (32, 32)),
        (Q4_0, (48, 32)),
        (Q4_0, (64, 24)),
        (Q4_0, (64, 32, 2, 2)),
        (Q4_0, (64,)),
    ],
)
def test_what_has_no_panels_is_said_to_have_none(kind, ne):
    assert not load_kernels("portable").has_panels(kind, ne)


@pytest.mark.parametrize(("n_rows", "k"), [(24, 64), (16, 40), (0, 64), (32, 64)])
def test_packing_what_does_not_fill_panels_is_refused(n_rows, k):
    rows = make_rows(Q4_0, 16, 64)
    with pytest.raises(ValueError, match="panels"):
        load_kernels("portable").pack(Q4_0, 0, rows.reshape(-1).data, n_rows, k)


def test_packing_keeps_every_byte():
    rows = make_rows(Q4_0, 32, 96)
    to = np.zeros(rows.nbytes, np.uint8)
    load_kernels("portable").pack(Q4_0, to.ctypes.data, rows.reshape(-1).data, 32, 96)
    assert np.array_equal(np.sort(to), np.sort(rows, axis=None))


def test_the_compiler_can_be_chosen(monkeypatch):
    monkeypatch.setenv("CC", "my-cc -m64")
    assert find_compiler() == ["my-cc", "-m64"]


def test_without_a_compiler_there_is_one_clear_reason(monkeypatch, tmp_path):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CompilerError, match="no C compiler"):
        build(tmp_path)


def test_a_compiler_that_fails_is_reported(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "false")
    with pytest.raises(CompilerError, match="false failed"):
        build(tmp_path)


def test_kernels_of_other_sources_are_refused(monkeypatch, tmp_path):
    source = tmp_path / "src" / "old.c"
    source.parent.mkdir()
    source.write_text("int g3n_cpu_variants(void) { return 0; }")
    monkeypatch.setattr(build_module, "SOURCES", source.parent)
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    build(tmp_path, ("-fvisibility=default",))
    library.find_variants.cache_clear()
    try:
        with pytest.raises(G3nError, match="older than g3n") as caught:
            load_kernels.__wrapped__("portable")
    finally:
        library.find_variants.cache_clear()
    assert caught.value.hint
