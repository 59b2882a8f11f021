import linecache
import resource
import shutil
import sys
from collections import namedtuple
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from gguf import GGUFReader

from g3n_cli.engine import gguf_writer
from g3n_cli.engine.gguf import GgufFile
from g3n_cli.engine.gguf_types import GgmlType
from g3n_cli.engine.gguf_writer import GgufWriter, TensorSpec, ValueType, make_array
from g3n_cli.errors import G3nError

METADATA = {
    "general.architecture": "test",
    "a.count": 4_000_000_000,
    "a.big": 1 << 40,
    "a.below": -3,
    "a.rate": 0.5,
    "a.flag": True,
    "a.widths": make_array(ValueType.INT32, [3, -1, 7]),
    "a.mask": make_array(ValueType.BOOL, [True, False, True]),
    "a.scales": make_array(ValueType.FLOAT32, [1.5, float("-inf")]),
    "a.words": make_array(ValueType.STRING, ["", "\u2581eins", "zwei\n"]),
}
TYPES = {
    "general.architecture": ["STRING"],
    "a.count": ["UINT32"],
    "a.big": ["UINT64"],
    "a.below": ["INT32"],
    "a.rate": ["FLOAT32"],
    "a.flag": ["BOOL"],
    "a.widths": ["ARRAY", "INT32"],
    "a.mask": ["ARRAY", "BOOL"],
    "a.scales": ["ARRAY", "FLOAT32"],
    "a.words": ["ARRAY", "STRING"],
}
VECTOR = TensorSpec("norm.weight", GgmlType.F32, (3,))
CUBE = TensorSpec("cube.weight", GgmlType.F16, (5, 3, 2))
MATRIX = TensorSpec("matrix.weight", GgmlType.Q8_0, (64, 2))


def values(spec, dtype=np.uint8):
    return np.arange(spec.n_bytes, dtype=np.uint8).view(dtype)


def write(path, tensors=(VECTOR,), chunks=None):
    with GgufWriter(path, METADATA, tensors) as writer:
        for spec in tensors:
            writer.write_tensor(spec.name, chunks or [values(spec).tobytes()])


def write_within_4096_bytes(path, n_words):
    """What writing says when no file may grow further: pytest's output neither, so run it apart."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    words = {"words": make_array(ValueType.STRING, ["word"] * n_words)}
    spec = TensorSpec("t.weight", GgmlType.F32, (5000,))
    try:
        with GgufWriter(path, words, [spec]) as writer:
            writer.write_tensor(spec.name, [bytes(spec.n_bytes)])
    except G3nError as error:
        return str(error)
    return "written"


def test_metadata_has_the_types_other_readers_expect(tmp_path):
    write(tmp_path / "m.gguf")
    fields = GGUFReader(tmp_path / "m.gguf").fields
    read = {key: field for key, field in fields.items() if not key.startswith("GGUF.")}
    assert {key: [kind.name for kind in field.types] for key, field in read.items()} == TYPES
    assert read["a.words"].contents() == ["", "\u2581eins", "zwei\n"]
    assert read["a.scales"].contents() == [1.5, float("-inf")]
    assert read["a.big"].contents() == 1 << 40


def test_what_is_written_is_what_is_read(tmp_path):
    write(tmp_path / "m.gguf", (VECTOR, CUBE))
    gguf = GgufFile.open(tmp_path / "m.gguf")
    assert gguf.metadata == METADATA
    assert list(gguf.metadata) == list(METADATA)
    assert [(t.name, t.type, t.ne) for t in gguf.tensors.values()] == [
        (t.name, t.type, t.ne) for t in (VECTOR, CUBE)
    ]


def test_tensors_read_back_at_aligned_offsets(tmp_path):
    tensors = (VECTOR, CUBE, MATRIX)
    write(tmp_path / "m.gguf", tensors)
    found = GGUFReader(tmp_path / "m.gguf").tensors
    assert [t.name for t in found] == [t.name for t in tensors]
    for tensor, spec in zip(found, tensors, strict=True):
        assert tuple(tensor.shape) == spec.ne
        assert int(tensor.tensor_type) == spec.type
        assert tensor.n_bytes == spec.n_bytes
        assert tensor.data_offset % 32 == 0
        np.testing.assert_array_equal(tensor.data.view(np.uint8).ravel(), values(spec))


def test_chunks_of_any_size_give_the_same_file(tmp_path):
    write(tmp_path / "whole.gguf", (MATRIX,))
    raw = values(MATRIX).tobytes()
    write(tmp_path / "pieces.gguf", (MATRIX,), [raw[:1], memoryview(raw)[1:100], raw[100:]])
    assert (tmp_path / "pieces.gguf").read_bytes() == (tmp_path / "whole.gguf").read_bytes()


def test_progress_ends_at_the_size_of_the_file(tmp_path):
    calls = []
    with GgufWriter(
        tmp_path / "m.gguf", METADATA, [VECTOR], lambda *call: calls.append(call)
    ) as writer:
        writer.write_tensor(VECTOR.name, [values(VECTOR).tobytes()])
    size = (tmp_path / "m.gguf").stat().st_size
    assert calls[-1] == (size, size)
    assert calls == sorted(calls)


def test_a_row_of_broken_blocks_is_refused():
    with pytest.raises(AssertionError, match="row of 33"):
        TensorSpec("odd.weight", GgmlType.Q8_0, (33, 2))


@pytest.mark.parametrize(
    ("name", "chunks"), [("other.weight", [bytes(12)]), ("norm.weight", [bytes(11)])]
)
def test_a_file_unlike_its_table_does_not_appear(tmp_path, name, chunks):
    with pytest.raises(AssertionError), GgufWriter(tmp_path / "m.gguf", METADATA, [VECTOR]) as w:
        w.write_tensor(name, chunks)
    assert not list(tmp_path.iterdir())


def test_a_missing_tensor_is_noticed_and_nothing_appears(tmp_path):
    with pytest.raises(AssertionError), GgufWriter(tmp_path / "m.gguf", METADATA, [VECTOR]):
        pass
    assert not list(tmp_path.iterdir())


def test_interrupting_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_text("old")

    def chunks():
        yield bytes(6)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(path, chunks=chunks())
    assert [p.name for p in tmp_path.iterdir()] == ["m.gguf"]
    assert path.read_text() == "old"


class InterruptedAtLine:
    """Ctrl+C before the ``n``-th line of the writer, but for ``try:``, where none arrives."""

    def __init__(self, n):
        self.n_left = n

    def __call__(self, frame, event, _argument):
        if frame.f_code.co_filename != gguf_writer.__file__:
            return None
        line = linecache.getline(gguf_writer.__file__, frame.f_lineno).strip()
        if event == "line" and line != "try:":
            self.n_left -= 1
            if not self.n_left:
                raise KeyboardInterrupt
        return self


def test_ctrl_c_at_any_line_leaves_no_part_of_a_file(tmp_path):
    path, before = tmp_path / "m.gguf", sys.gettrace()
    whole = tmp_path / "whole"
    write(whole)
    n_interrupted = 0
    while True:
        path.unlink(missing_ok=True)
        tracer = InterruptedAtLine(n_interrupted + 1)
        sys.settrace(tracer)
        try:
            write(path)
        except KeyboardInterrupt:
            n_interrupted += 1
        finally:
            sys.settrace(before)
        assert {p.name for p in tmp_path.iterdir()} <= {"m.gguf", "whole"}, n_interrupted
        assert not path.exists() or path.read_bytes() == whole.read_bytes()
        if tracer.n_left > 0:
            break
    assert n_interrupted > 50


def test_a_disk_too_small_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    big = TensorSpec("big.weight", GgmlType.F32, (500_000_000,))
    with pytest.raises(G3nError, match=r"takes 2\.00 GB, 1 kB are free") as caught:
        write(tmp_path / "m.gguf", (big,))
    assert caught.value.hint
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("n_words", [1, 5000], ids=["in a tensor", "in the header"])
def test_a_write_that_fails_leaves_nothing(tmp_path, n_words):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        said = pool.submit(write_within_4096_bytes, tmp_path / "m.gguf", n_words).result()
    assert said.startswith("cannot write ")
    assert said.endswith("m.gguf: File too large")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("target", "reason"),
    [("no/m.gguf", "No such file"), ("file/m.gguf", "Not a directory"), (".", "it is a directory")],
)
def test_an_unwritable_target_is_named(tmp_path, target, reason):
    (tmp_path / "file").write_text("")
    with pytest.raises(G3nError, match=f"cannot write .*: {reason}"):
        write(tmp_path / target)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
