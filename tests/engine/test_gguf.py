import os
import struct

import numpy as np
import pytest
from gguf import GGUFReader, GGUFValueType

from g3n_cli.engine.gguf import GgufArray, GgufFile
from g3n_cli.engine.gguf_types import BLOCKS, GgmlType
from g3n_cli.errors import ModelError
from g3n_cli.ggml.library import load
from tests.gguf_edit import (
    ARRAY,
    BOOL,
    F32,
    F64,
    I8,
    I64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    Draft,
    DraftTensor,
    array,
    find_fields,
    scalar,
    string,
    text,
)
from tests.oracle import CASES


def make_draft() -> Draft:
    """Two keys, and two tensors of 64 bytes each."""
    return Draft(
        {"general.architecture": text("gemma3n"), "n": scalar(U32, 7)},
        [
            DraftTensor("a", (8, 2), GgmlType.F32, bytes(64)),
            DraftTensor("b", (32,), GgmlType.F16, bytes(64)),
        ],
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


def open_draft(draft: Draft, path) -> GgufFile:
    return GgufFile.open(draft.write(path))


def test_a_small_file_reads_as_written(path):
    gguf = open_draft(make_draft(), path)
    assert gguf.metadata == {"general.architecture": "gemma3n", "n": 7}
    assert gguf.architecture == "gemma3n"
    a, b = gguf.tensors.values()
    assert (a.name, a.type, a.ne, a.n_bytes, a.row_bytes) == ("a", GgmlType.F32, (8, 2), 64, 32)
    assert (b.n_values, b.offset - a.offset, b.offset + b.n_bytes) == (32, 64, gguf.size)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (U8, 255),
        (I8, -1),
        (U16, 65535),
        (F32, 0.5),
        (BOOL, True),
        (U64, 2**64 - 1),
        (I64, -2),
        (F64, 0.1),
    ],
)
def test_scalars_of_every_width_keep_their_value(path, kind, value):
    found = open_draft(Draft({"k": scalar(kind, value)}), path).metadata["k"]
    assert (found, type(found)) == (value, type(value))


def test_arrays_are_decoded_when_asked(path):
    draft = Draft({"s": array(STRING, ["", "a\0b", "\u00e9"]), "f": array(F32, [1.0, -2.5])})
    metadata = open_draft(draft, path).metadata
    assert list(metadata["s"].to_bytes()) == [b"", b"a\0b", "\u00e9".encode()]
    assert metadata["f"].to_numpy().tolist() == [1.0, -2.5]
    with pytest.raises(TypeError):
        metadata["s"].to_numpy()
    with pytest.raises(TypeError):
        next(metadata["f"].to_bytes())


@pytest.mark.parametrize("value", [scalar(U32, 1), None])
def test_a_file_without_a_named_architecture_has_an_empty_one(path, value):
    draft = Draft({} if value is None else {"general.architecture": value})
    assert open_draft(draft, path).architecture == ""


# ----------------------------------------------------------------------------------- broken files


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"cannot read .*none\.gguf: No such file"):
        GgufFile.open(tmp_path / "none.gguf")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ModelError, match="is not a file"):
            GgufFile.open(path)


def test_an_empty_file_is_refused(path):
    path.touch()
    with pytest.raises(ModelError, match="is empty"):
        GgufFile.open(path)


def assert_refused(raw: bytes, path, fault: str) -> None:
    path.write_bytes(raw)
    with pytest.raises(ModelError, match=fault):
        GgufFile.open(path)


@pytest.mark.parametrize(
    ("at", "new", "fault"),
    [
        (0, b"GGML", "does not begin with 'GGUF'"),
        (4, struct.pack("<I", 1), "version 1"),
        (4, struct.pack(">I", 3), "version"),
        (8, struct.pack("<Q", 2**60), "claims 1152921504606846976 tensors"),
        (16, struct.pack("<Q", 2**60), "claims 1152921504606846976 keys"),
        (24, struct.pack("<Q", 2**64 - 1), "ends within its header"),
    ],
)
def test_a_wrong_beginning_is_refused(path, at, new, fault):
    raw = bytearray(make_draft().encode())
    raw[at : at + len(new)] = new
    assert_refused(bytes(raw), path, fault)


def test_a_file_cut_off_anywhere_is_refused(path):
    draft = make_draft()
    draft.keys["list"] = array(STRING, ["one", "two"])
    draft.keys["numbers"] = array(F32, [1.0, 2.0])
    raw = draft.encode()
    for end in range(1, len(raw)):
        assert_refused(raw[:end], path, "is not a usable GGUF file")


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (struct.pack("<I", 13), "value of unknown type 13"),
        (struct.pack("<IB", BOOL, 2), "neither true nor false"),
        (struct.pack("<IIQ", ARRAY, 13, 0), "array of unknown type 13"),
        (struct.pack("<IIQ", ARRAY, ARRAY, 1), "array of unknown type 9"),
        (array(STRING, ["a"], length=2**60), "ends within"),
        (array(F32, [1.0], length=2**60), "ends within"),
        (array(U8, [1], length=2**64 - 1), "ends within"),
        (array(STRING, [], length=1) + b"\xff" * 8, "ends within"),
        (text(b"\xff"), "not UTF-8"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(path, value, fault):
    assert_refused(Draft({"k": value}).encode() + bytes(64), path, fault)


def test_keys_must_be_unique_and_utf8(path):
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 2)
    pair = string("k") + scalar(U32, 1)
    assert_refused(head + pair * 2, path, "'k' occurs twice")
    assert_refused(head + string(b"\xc3") + scalar(U32, 1) * 3, path, "a key is not UTF-8")


@pytest.mark.parametrize("key", ["", "general.alignment\0"])
def test_a_key_that_c_code_would_read_as_another_is_refused(path, key):
    assert_refused(Draft({key: scalar(U32, 1)}).encode(), path, "a key is empty or holds a NUL")


@pytest.mark.parametrize("value", [*(scalar(U32, n) for n in (0, 16, 24, 48, 2**31)), text("32")])
def test_an_impossible_alignment_is_refused(path, value):
    draft = make_draft()
    draft.keys["general.alignment"] = value
    assert_refused(draft.encode(), path, "alignment is")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"name": "a"}, "'a' occurs twice"),
        ({"name": ""}, "name is empty or holds a NUL"),
        ({"name": "b\0"}, "name is empty or holds a NUL"),
        ({"name": "b" * 64}, "name has 64 characters"),
        ({"name": b"\xff"}, "name is not UTF-8"),
        ({"ne": ()}, "0 dimensions"),
        ({"ne": (2, 2, 2, 2, 2)}, "5 dimensions"),
        ({"ne": (0,)}, "shape"),
        ({"ne": (2**60,)}, "shape"),
        ({"ne": (2**32, 2**32, 2**32)}, "ends behind the end"),
        ({"ne": (33,)}, "ends behind the end"),
        ({"type": 4}, "unknown type"),
        ({"type": 99}, "unknown type"),
        ({"type": GgmlType.Q4_K}, "no whole Q4_K blocks"),
        ({"offset": 0}, "overlaps"),
        ({"offset": 32}, "overlaps"),
        ({"offset": 65}, "not aligned"),
        ({"offset": 96}, "ends behind the end"),
        ({"offset": 2**64 - 32}, "ends behind the end"),
    ],
)
def test_a_tensor_that_makes_no_sense_is_refused(path, changes, fault):
    draft = make_draft()
    draft.change("b", **changes)
    assert_refused(draft.encode(), path, fault)


# ------------------------------------------------------------------------------ other readers agree


def test_the_block_table_is_ggmls():
    lib = load()
    assert {kind: (lib.blck_size(kind), lib.type_size(kind)) for kind in BLOCKS} == BLOCKS
    assert set(BLOCKS) == set(GgmlType)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_oracle_files_read_as_the_gguf_package_reads_them(case):
    gguf, reader = GgufFile.open(case.path), GGUFReader(case.path)
    fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    assert set(gguf.metadata) == set(fields)
    for key, field in fields.items():
        value, wanted = gguf.metadata[key], field.contents()
        if not isinstance(value, GgufArray):
            assert value == wanted, key
        elif field.types[-1] is GGUFValueType.STRING:
            assert [item.decode() for item in value.to_bytes()] == wanted, key
        else:
            np.testing.assert_array_equal(value.to_numpy(), wanted, key)
    wanted = {
        t.name: (t.tensor_type.value, tuple(t.shape), t.data_offset, t.n_bytes)
        for t in reader.tensors
    }
    found = {t.name: (t.type, t.ne, t.offset, t.n_bytes) for t in gguf.tensors.values()}
    assert found == wanted


def test_walking_the_header_finds_its_end():
    raw = make_draft().encode()
    assert find_fields(raw)[-1].end == len(make_draft().header())
