import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from g3n_cli.convert.safetensors import open_weights
from g3n_cli.errors import ModelError
from tests.convert.checkpoints import (
    CHECKPOINT,
    FIRST,
    INDEX,
    copy_checkpoint,
    edit_json,
    write_header,
    write_weights,
)

VALUES = np.float32([[1.5, -2, 0.25], [3, -0.5, 1024]])
STORED = {
    "F32": VALUES,
    "F16": VALUES.astype(np.float16),
    "BF16": (VALUES.view(np.uint32) >> 16).astype(np.uint16),
}


@pytest.mark.parametrize("dtype", STORED)
def test_values_of_every_type_are_read_as_float32(tmp_path, dtype):
    write_weights(tmp_path / "model.safetensors", {"a": (dtype, STORED[dtype])})
    weight = open_weights(tmp_path)["a"]
    assert (weight.dtype, weight.shape) == (dtype, (2, 3))
    assert weight.read(0, 6).tolist() == VALUES.ravel().tolist()
    assert weight.read(2, 2).tolist() == [0.25, 3]


def test_files_of_an_index_are_one_checkpoint():
    promised = json.loads((CHECKPOINT / INDEX).read_text())["weight_map"]
    weights = open_weights(CHECKPOINT)
    assert {name: weight.path.name for name, weight in weights.items()} == promised


def entry(shape=(2,), dtype="F32", offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        (b"{", "header is not JSON"),
        (b"[" * 100_000, "header is not JSON"),
        ([], "header is no table"),
        ({"a": 1}, "lacks a type, shape or place"),
        ({"a": {"dtype": "F32", "shape": [2]}}, "lacks a type, shape or place"),
        ({"a": entry(shape=[-2])}, "has the shape"),
        ({"a": entry(shape=[True, 2])}, "has the shape"),
        ({"a": entry(shape=[3])}, "takes 8 bytes"),
        ({"a": entry(offsets=(8, 0))}, "takes -8 bytes"),
        ({"a": entry(offsets=(4, 12))}, "behind the end"),
        ({"a": entry(shape=[1 << 40], offsets=(0, 1 << 42))}, "behind the end"),
        ({"a": entry(), "b": entry()}, "overlaps another"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, table, fault):
    write_header(tmp_path / "model.safetensors", table, bytes(8))
    with pytest.raises(ModelError, match=fault):
        open_weights(tmp_path)


@pytest.mark.parametrize("n", [0, 5, 8, 100])
def test_a_header_cut_short_is_refused(tmp_path, n):
    (tmp_path / "model.safetensors").write_bytes((CHECKPOINT / FIRST).read_bytes()[:n])
    with pytest.raises(ModelError, match="ends within its header"):
        open_weights(tmp_path)


def test_truncated_tensors_are_refused(tmp_path):
    folder = copy_checkpoint(tmp_path)
    raw = (folder / FIRST).read_bytes()
    (folder / FIRST).write_bytes(raw[:-1])
    with pytest.raises(ModelError, match="behind the end of the file"):
        open_weights(folder)


def test_a_file_that_shrinks_meanwhile_is_noticed(tmp_path):
    folder = copy_checkpoint(tmp_path)
    weights = open_weights(folder)
    (folder / FIRST).write_bytes(b"")
    weight = next(weight for weight in weights.values() if weight.path.name == FIRST)
    with pytest.raises(ModelError, match="became shorter"):
        weight.read(0, 1)


def test_a_missing_file_is_named(tmp_path):
    folder = copy_checkpoint(tmp_path)
    (folder / FIRST).unlink()
    with pytest.raises(ModelError, match=f"{FIRST} is missing, 1 of 2 files"):
        open_weights(folder)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda index: index.pop("weight_map"), "names no files"),
        (lambda index: index["weight_map"].update(x="../x.safetensors"), "names no files"),
        (lambda index: index["weight_map"].update(x=FIRST), "lacks tensor 'x'"),
    ],
)
def test_an_index_that_lies_is_refused(tmp_path, change, fault):
    folder = copy_checkpoint(tmp_path)
    edit_json(folder / INDEX, change)
    with pytest.raises(ModelError, match=fault):
        open_weights(folder)


def test_a_tensor_in_two_files_is_refused(tmp_path):
    for name in "ab":
        write_weights(tmp_path / f"{name}.safetensors", {"x": ("F32", VALUES)})
    with pytest.raises(ModelError, match=r"is in a.safetensors too"):
        open_weights(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ModelError, match="holds no safetensors files"):
        open_weights(tmp_path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 400), byte=st.integers(0, 255))
def test_a_changed_byte_never_does_more_than_raise(tmp_path, at, byte):
    path = tmp_path / "model.safetensors"
    write_weights(path, {"a": ("F32", VALUES), "b": ("BF16", STORED["BF16"])})
    raw = bytearray(path.read_bytes())
    raw[at % len(raw)] = byte
    path.write_bytes(raw)
    try:
        for weight in open_weights(tmp_path).values():
            weight.check_dtype()
            weight.read(0, 6 if weight.shape == (2, 3) else 0)
    except ModelError:
        pass
