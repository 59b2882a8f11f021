"""A broken file is refused with a message; it never takes the process down.

Two kinds of breakage: bytes of a file changed or cut off, and well-formed files that say something
wrong, which reach deeper. Each mutant is opened and run by a worker process that must survive it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from g3n_cli.engine.gguf_types import BLOCKS, GgmlType
from tests.gguf_edit import (
    BOOL,
    F32,
    I32,
    STRING,
    U32,
    U64,
    Draft,
    array,
    find_fields,
    read_draft,
    scalar,
    text,
)
from tests.oracle import find_case
from tests.tiny_llama import make_llama

ADDED = (
    "block_count\0",
    "expert_count",
    "expert_group_count",
    "expert_used_count",
    "nextn_predict_layers",
    "attention.key_length",
    "attention.value_length",
    "attention.causal",
    "attention.sliding_window",
    "pooling_type",
    "rope.dimension_sections",
    "rope.scaling.factor",
    "rope.scaling.type",
)
"""Keys of the architecture that none of the files has."""
MODELS = ("noshare5", "odd7", "llama")
NUMBERS = (0, 1, 2, 3, 7, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**60, 2**63, 2**64 - 1)
COUNTS = (0, 1, 2, 3, 5, 64, 511, 513, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
VALUES = [
    *(scalar(U32, n) for n in COUNTS),
    *(scalar(F32, x) for x in (0.0, 0.5, -1.0, 1e30, float("inf"), float("nan"))),
    scalar(U64, 4),
    scalar(I32, -1),
    scalar(BOOL, True),
    text(""),
    text("bert"),
    text("t5"),
    text("gpt2"),
    text("gemma3"),
    array(U32, []),
    array(U32, [0, 1]),
    array(I32, [-1, 2, 3, 4, 5]),
    array(F32, [0.0] * 7),
    array(BOOL, [True, False]),
    array(STRING, []),
    array(STRING, ["a", "b", "a"]),
]
SETTINGS = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class Worker:
    """Runs mutants in a process of its own; starts another if one dies."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "mutant.gguf"
        self._errors = (folder / "stderr").open("a+b")
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz_worker", "model"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            # ggml would start a debugger that writes to stdout.
            env={**os.environ, "GGML_NO_BACKTRACE": "1"},
        )

    def open(self, mutant: bytes) -> str:
        """What became of it; "died: ..." is the worst answer."""
        self.path.write_bytes(mutant)
        self._errors.truncate(0)
        self._process.stdin.write(f"{self.path}\n")
        self._process.stdin.flush()
        if answer := self._process.stdout.readline():
            return answer.rstrip("\n")
        self._process.wait()
        self._errors.seek(0)
        last_words = self._errors.read()[-800:].decode(errors="replace")
        answer = f"died: {self._process.returncode}: {last_words}"
        self._close_pipes()
        self._start()
        return answer

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _close_pipes(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def worker(tmp_path_factory) -> Iterator[Worker]:
    worker = Worker(tmp_path_factory.mktemp("fuzz"))
    yield worker
    worker.close()


def load(model: str) -> Draft:
    return make_llama() if model == "llama" else read_draft(find_case(model, "q8_0").path)


DRAFTS = {model: load(model) for model in MODELS}
RAW = {model: draft.encode() for model, draft in DRAFTS.items()}
FIELDS = {model: find_fields(raw) for model, raw in RAW.items()}


@pytest.mark.parametrize("model", MODELS)
def test_the_unharmed_file_runs(model, worker):
    assert worker.open(RAW[model]) == "ok"


@st.composite
def patches(draw, model: str) -> tuple[int, bytes]:
    """Bytes to put at a place of the header: one bit's worth, or a number of another meaning."""
    field = draw(st.sampled_from([field for field in FIELDS[model] if field.end > field.start]))
    if field.is_integer and draw(st.booleans()):
        size = field.end - field.start
        return field.start, (draw(st.sampled_from(NUMBERS)) % 256**size).to_bytes(size, "little")
    at = draw(st.integers(field.start, field.end - 1))
    return at, bytes([RAW[model][at] ^ draw(st.sampled_from([1, 2, 4, 8, 32, 128, 255]))])


@pytest.mark.parametrize("model", MODELS)
def test_changed_bytes_of_the_header_are_survived(model, worker):
    @settings(SETTINGS, max_examples=600)
    @given(st.lists(patches(model), min_size=1, max_size=2))
    def check(changes):
        raw = bytearray(RAW[model])
        for at, new in changes:
            raw[at : at + len(new)] = new
        answer = worker.open(bytes(raw))
        assert answer.startswith(("ok", "refused: ")), answer

    check()


@pytest.mark.parametrize("model", MODELS)
def test_a_file_cut_off_anywhere_is_refused(model, worker):
    @settings(SETTINGS, max_examples=150)
    @given(st.sampled_from(FIELDS[model]), st.integers(0, 3))
    def check(field, more):
        assert worker.open(RAW[model][: field.start + more]).startswith("refused: ")

    check()


@st.composite
def drafts(draw, model: str) -> tuple[str, Draft]:
    """A well-formed file with one wrong key or tensor, and what is wrong."""
    original = DRAFTS[model]
    draft = Draft(dict(original.keys), list(original.tensors))
    if draw(st.integers(0, 3)):
        architecture = "llama" if model == "llama" else "gemma3n"
        added = [f"{architecture}.{name}" for name in ADDED]
        added += ["general.alignment", "split.count", "tokenizer.ggml.tokens\0"]
        key = draw(st.sampled_from([*draft.keys, *added]))
        value = draw(st.sampled_from([None, *VALUES]))
        draft.keys.pop(key, None)
        if value is not None:
            draft.keys = {key: value, **draft.keys}
        return f"{key} = {value!r}", draft
    tensor = draw(st.sampled_from(draft.tensors))
    kind = draw(st.sampled_from([GgmlType(tensor.type), *GgmlType]))
    ne = draw(st.sampled_from([tensor.ne, tensor.ne[::-1], (32,), (256, 4), (64, 64, 3)]))
    if draw(st.integers(0, 4)) == 0:
        draft.drop(tensor.name)
        return f"no {tensor.name}", draft
    block, size = BLOCKS[kind]
    n_bytes = size * (-(-ne[0] // block))
    for extent in ne[1:]:
        n_bytes *= extent
    draft.change(tensor.name, ne=ne, type=kind, data=bytes(n_bytes))
    return f"{tensor.name}: {kind.name} {ne}", draft


@pytest.mark.parametrize("model", MODELS)
def test_a_well_formed_file_that_says_something_wrong_is_survived(model, worker):
    @settings(SETTINGS, max_examples=500)
    @given(drafts(model))
    def check(mutant):
        what, draft = mutant
        answer = worker.open(draft.encode())
        assert answer.startswith(("ok", "refused: ")), f"{what}: {answer}"

    check()
