import csv
import io
import json
import sqlite3
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from g3n_cli.bench.formats import FILE_FORMATS, format_report
from g3n_cli.bench.result import FIGURES, Comparison, Report
from tests.bench.samples import make_report, make_result, make_sample

COMPARISON = Comparison("pp8", "kv", "f16", "q8_0", "ttft_s", 1.2, 1.1, 1.3, 5, "f16 is slower")
REPORT = make_report(
    make_result(kv="f16", warnings=("it's noisy: rest",)),
    make_result(make_sample(None), kv="q8_0", n_prompt=0, model='a "b", c'),
    comparisons=[COMPARISON],
)


@pytest.mark.parametrize("kind", FILE_FORMATS)
def test_every_format_tells_of_nothing_measured_yet(kind):
    report = Report(REPORT.environment, ())
    text = format_report(report, kind)
    assert text == "" or text.endswith("\n")


def test_json_is_the_report():
    text = format_report(REPORT, "json")
    assert Report.parse(text, "x") == REPORT
    assert list(json.loads(text)) == ["schema", "environment", "cases", "comparisons"]


def test_lines_of_jsonl_stand_alone():
    lines = [json.loads(line) for line in format_report(REPORT, "jsonl").splitlines()]
    assert [line["model"] for line in lines] == ["tiny", 'a "b", c']
    for line in lines:
        assert line["schema"] == 1
        assert line["environment"]["cpu"] == "Some CPU"
        assert len(line["samples"]) == 1


def test_csv_has_every_figure_and_setting():
    rows = list(csv.DictReader(io.StringIO(format_report(REPORT, "csv"))))
    assert {"label", "model", "kv", "n_threads", *(f.name for f in FIGURES)} <= rows[0].keys()
    assert [row["kv"] for row in rows] == ["f16", "q8_0"]
    assert float(rows[0]["ttft_s"]) == 0.5
    assert (rows[1]["ttft_s"], rows[1]["model"]) == ("", 'a "b", c')


def test_sql_makes_a_table_and_can_be_run_again():
    base = sqlite3.connect(":memory:")
    for _ in range(2):
        base.executescript(format_report(REPORT, "sql"))
    rows = base.execute("SELECT kv, ttft_s, warnings FROM g3n_bench").fetchall()
    assert rows == [("f16", 0.5, "it's noisy: rest"), ("q8_0", None, "")] * 2
    base.close()


def test_sql_of_runs_with_other_settings_fits_one_table():
    server = replace(make_result(), device="http://host/v1", settings={})
    sound = make_result(mmproj="mmproj.gguf", image_size=768)
    base = sqlite3.connect(":memory:")
    for result in (server, make_result(kv="q8_0"), sound):
        base.executescript(format_report(make_report(result), "sql"))
    rows = base.execute("SELECT kv, mmproj FROM g3n_bench").fetchall()
    assert rows == [(None, None), ("q8_0", None), ("f16", "mmproj.gguf")]
    base.close()


def test_columns_of_sql_have_their_type_whatever_the_first_run_has():
    base = sqlite3.connect(":memory:")
    for result in (make_result(repack=True), make_result(image_size=768, gpu_layers=4)):
        base.executescript(format_report(make_report(result), "sql"))
    rows = base.execute("SELECT n_prompt, repack, image_size, gpu_layers FROM g3n_bench").fetchall()
    assert rows == [(8, 1, None, None), (8, None, 768, 4)]
    assert [type(value) for value in rows[1]] == [int, type(None), int, int]
    base.close()


def test_markdown_has_tables_outcomes_and_warnings():
    text = format_report(REPORT, "md")
    assert "Some CPU, 2 cores" in text
    assert "| case | model | kv | TTFT |" in text
    assert "| pp8+tg3 | tiny | f16 | 500 ms |" in text
    assert "- pp8: f16 is slower" in text
    assert "- pp8+tg3 model=tiny kv=f16: it's noisy: rest" in text


def test_markdown_escapes_what_would_end_a_cell():
    text = format_report(make_report(make_result(model="a|b"), make_result(model="c")), "md")
    assert "| a\\|b |" in text


@pytest.mark.parametrize("name", ["512*4,256*4", "<b>x</b>", "a`b`|c\\", "[a](b)", "q8_0", "~~a~~"])
def test_what_a_renderer_shows_of_markdown_is_what_was_measured(name):
    report = make_report(make_result(size=name, warnings=("noisy",)), make_result(size="full"))
    tokens = MarkdownIt().enable(["table", "strikethrough"]).parse(format_report(report, "md"))
    assert {each.type for token in tokens for each in token.children or ()} == {"text"}
    shown = ["".join(each.content for each in token.children) for token in tokens if token.children]
    assert name in shown
    assert f"pp8+tg3 size={name}: noisy" in shown
