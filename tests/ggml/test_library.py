import ctypes

import pytest

from g3n_cli.errors import G3nError
from g3n_cli.ggml import bindings, library
from g3n_cli.ggml.library import Library, load, verify


def test_installed_library_passes_its_check():
    verify(load())


def test_another_version_is_refused_with_a_hint(monkeypatch):
    monkeypatch.setattr(library, "GGML_VERSION", "0.1.0")
    with pytest.raises(G3nError, match=r"version .*0\.1\.0") as caught:
        verify(load())
    assert "pip install" in caught.value.hint


def test_another_struct_layout_is_refused(monkeypatch):
    class Shifted(ctypes.Structure):
        _fields_ = (("padding_before", ctypes.c_int64), *bindings.TensorStruct._fields_)

    monkeypatch.setattr(library, "TensorStruct", Shifted)
    with pytest.raises(G3nError, match="bytes"):
        verify(load())


def test_same_size_but_swapped_fields_are_refused(monkeypatch):
    fields = dict(bindings.TensorStruct._fields_)
    swapped = {**fields, "ne": fields["nb"], "nb": fields["ne"]}
    order = [("nb" if n == "ne" else "ne" if n == "nb" else n) for n in fields]

    class Swapped(ctypes.Structure):
        _fields_ = tuple((name, swapped[name]) for name in order)

    monkeypatch.setattr(library, "TensorStruct", Swapped)
    with pytest.raises(G3nError, match="laid out"):
        verify(load())


def test_missing_library_is_one_clear_error(tmp_path):
    with pytest.raises(G3nError, match="libggml-base"):
        Library(tmp_path)
