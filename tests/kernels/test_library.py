import numpy as np
import pytest

from g3n_cli.errors import UsageError
from g3n_cli.kernels.build import CompilerError, build, find_compiler
from g3n_cli.kernels.library import find_variants, load_kernels
from tests.kernels.references import Q4_0, Q4_K, make_rows

F32, F16 = 0, 1


def test_the_portable_variant_runs_everywhere():
    assert "portable" in find_variants()


def test_own_is_the_best_variant_and_ggml_none():
    assert load_kernels("own").variant == find_variants()[0]
    assert load_kernels("ggml") is None


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
    assert not load_kernels("own").has_panels(kind, ne)


@pytest.mark.parametrize(("n_rows", "k"), [(24, 64), (16, 40), (0, 64), (32, 64)])
def test_packing_what_does_not_fill_panels_is_refused(n_rows, k):
    rows = make_rows(Q4_0, 16, 64)
    with pytest.raises(ValueError, match="panels"):
        load_kernels("own").pack(Q4_0, 0, rows.reshape(-1).data, n_rows, k)


def test_packing_keeps_every_byte():
    rows = make_rows(Q4_0, 32, 96)
    to = np.zeros(rows.nbytes, np.uint8)
    load_kernels("own").pack(Q4_0, to.ctypes.data, rows.reshape(-1).data, 32, 96)
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
