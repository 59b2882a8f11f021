"""Pictures in a chat with a model on this machine, as a shell hands them over."""

import json

import numpy as np
import pytest

from tests.engine.encoders.test_vision import F16_FILE, FOLDER
from tests.gguf_edit import read_draft
from tests.program import assert_fails

PICTURE, OTHER = FOLDER / "picture-256.png", FOLDER / "picture-64.png"
N_VISION, N_TEXT = 64, 64
POSITIONS = 256 + 2 + 2 * 2
"""Soft tokens, the marks of beginning and end, and two line breaks on either side."""


@pytest.fixture
def mmproj(tmp_path):
    """The tiny encoder with a projection into the tiny model's width."""
    draft = read_draft(F16_FILE)
    values = np.random.default_rng(0).standard_normal((N_TEXT, N_VISION), np.float32)
    draft.change("mm.input_projection.weight", ne=(N_VISION, N_TEXT), type=0, data=values.tobytes())
    return draft.write(tmp_path / "mmproj.gguf")


def answer(done):
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.parametrize("size", ["768", "512", "256"])
def test_a_picture_of_any_size_takes_the_same_positions(g3n, mmproj, size):
    flags = ("--json", "-n", "2", "--mmproj", mmproj, "--image-size", size)
    alone = answer(g3n.chat(*flags, "What is this?"))
    done = answer(g3n.chat(*flags, "-f", PICTURE, "What is this?"))
    assert done["prompt_tokens"] - alone["prompt_tokens"] == POSITIONS
    assert done["encode_s"] > 0
    assert alone["encode_s"] is None


def test_rows_of_a_picture_are_kept_for_the_next_process(g3n, mmproj):
    kept = g3n.home / "cache" / "g3n" / "rows"
    flags = ("--json", "-n", "4", "--temp", "0", "--mmproj", mmproj)
    first = answer(g3n.chat(*flags, "-f", PICTURE, "What is this?"))
    before = {path: path.read_bytes() for path in kept.iterdir()}
    again = answer(g3n.chat(*flags, "-f", PICTURE, "What is this?"))
    assert again["text"] == first["text"]
    assert {path: path.read_bytes() for path in kept.iterdir()} == before
    answer(g3n.chat(*flags, "-f", OTHER, "What is this?"))
    assert len(list(kept.iterdir())) == len(before) + 1


def test_nothing_of_a_picture_is_kept_if_nothing_is_saved(g3n, mmproj):
    flags = ("--json", "-n", "1", "--no-save", "--mmproj", mmproj)
    answer(g3n.chat(*flags, "-f", PICTURE, "What is this?"))
    assert not (g3n.home / "cache" / "g3n" / "rows").exists()


def test_a_broken_projector_is_one_line(g3n, mmproj):
    mmproj.write_bytes(mmproj.read_bytes()[:-5000])
    assert_fails(g3n.chat("--mmproj", mmproj, "-f", PICTURE, "hi"), 3, "mmproj.gguf")
