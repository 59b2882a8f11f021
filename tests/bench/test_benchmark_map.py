"""The script ``benchmarks/map.py``."""

import json

from benchmarks import map as map_script
from benchmarks import report
from tests.model_files import SMALL8


def test_both_sides_answer_the_same_lines_alike(tmp_path, capsys):
    out = tmp_path / "map.json"
    limits = ("--lines", "3", "--decode", "4", "--rounds", "1", "--threads", "1")
    map_script.main([str(SMALL8), *limits, "--rules", "0,2", "--out", str(out)])
    result = json.loads(out.read_text())
    table = capsys.readouterr().out
    assert table == report.render_map(result)
    assert [case["n_rules"] for case in result["cases"]] == [0, 2]
    for case in result["cases"]:
        by_map, by_loop = (case["runs"][side][0] for side in map_script.SIDES)
        for name in ("prompt_tokens", "output_tokens", "texts"):
            assert by_map[name] == by_loop[name]
        assert len(by_map["texts"]) == 3
    assert table.count("3 of 3 |") == 2


def test_a_table_shows_only_what_both_sides_have_done():
    run = {"wall_s": 2.0, "prompt_tokens": 100, "output_tokens": 20, "texts": ["a", "b"]}
    slow = {**run, "wall_s": 8.0, "texts": ["a", "c"]}
    result = {
        "kind": "map",
        "model": {"name": "m.gguf", "bytes": 1},
        "settings": {"n_threads": 2, "n_lines": 2, "n_decode": 10},
        "cases": [
            {"n_rules": 0, "runs": {"g3n map": [run, run], "loop of g3n chat": [slow]}},
            {"n_rules": 9, "runs": {"g3n map": [run], "loop of g3n chat": []}},
        ],
    }
    *_, row = report.render_map(result).strip().split("\n")
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    spread = ["2.0 (2.0-2.0)", "8.0 (8.0-8.0)"]
    assert cells == ["50", *spread, "10.00", "2.50", "4.0x", "1 of 2"]
