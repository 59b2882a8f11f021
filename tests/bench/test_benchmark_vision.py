"""The vision script of ``benchmarks/``."""

import json

import pytest

from benchmarks import report, vision
from g3n_cli.bench.synthetic_vision import (
    Attention,
    Edge,
    Inverted,
    VisionShape,
    make_vision_mmproj,
)

TINY = VisionShape(
    n_stem=32,
    stages=(
        (Edge(32, 1),),
        (Inverted(32, 1, 3, 5),),
        (Inverted(32, 1, 5, 5), Attention(2, 32, is_halved=True), Inverted(32, 1)),
        (Inverted(32, 1, 5, 5), Attention(2, 32, is_halved=False), Inverted(32, 1)),
    ),
    n_embd=64,
    n_text=64,  # libmtmd aborts if these differ
)
FLAGS = ("--repetitions", "1", "--rounds", "1", "--threads", "1")


@pytest.fixture
def mmproj(tmp_path):
    path = tmp_path / "tiny.gguf"
    make_vision_mmproj(path, "f16", TINY)
    return str(path)


def test_all_sides_see_the_same(mmproj, tmp_path, capsys):
    out = tmp_path / "vision.json"
    sides = "g3n,g3n-ggml,libmtmd"
    vision.main(["--mmproj", mmproj, "--sides", sides, *FLAGS, "--out", str(out)])
    result = json.loads(out.read_text())
    assert [case["side"] for case in result["cases"]] == sides.split(",")
    assert {found["with"] for found in result["cosines"]} == {"libmtmd"}
    assert all(found["min"] > 0.999 for found in result["cosines"])
    assert report.RENDERERS["vision"](result) == capsys.readouterr().out


def test_what_either_side_was_compiled_for_is_recorded(mmproj, tmp_path, capsys):
    out = tmp_path / "vision.json"
    flags = ["--mmproj", mmproj, "--sides", "g3n,libmtmd", "--kernels", "portable", *FLAGS]
    vision.main([*flags, "--out", str(out)])
    table = capsys.readouterr().out
    assert "kernels of g3n: portable; llama.cpp compiled for" in table
    assert json.loads(out.read_text())["settings"]["kernels"] == "portable"


def test_libmtmd_is_left_out_where_it_would_resize(mmproj, tmp_path):
    out = tmp_path / "vision.json"
    flags = ["--mmproj", mmproj, "--sides", "g3n,libmtmd", "--sizes", "256", *FLAGS]
    vision.main([*flags, "--out", str(out)])
    assert [case["side"] for case in json.loads(out.read_text())["cases"]] == ["g3n"]


def test_what_cannot_be_measured_is_an_error(tmp_path, capsys):
    path = tmp_path / "no.gguf"
    path.write_bytes(b"no")
    flags = ["--mmproj", str(path), "--sides", "g3n", *FLAGS, "--out", str(tmp_path / "v.json")]
    with pytest.raises(SystemExit, match="g3n failed"):
        vision.main(flags)
    assert "GGUF" in capsys.readouterr().err
