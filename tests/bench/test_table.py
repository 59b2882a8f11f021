import pytest

from g3n_cli.bench.table import format_value, make_figures_table, make_memory_table, name_cases
from tests.bench.samples import make_result, make_sample


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("ttft_s", 2.345, "2.35 s"),
        ("itl_p50_s", 0.0753, "75.3 ms"),
        ("itl_p50_s", 0.00053, "0.53 ms"),
        ("decode_tps", 12.64, "12.6"),
        ("prefill_tps", 4170.7, "4,171"),
        ("peak_rss_bytes", 1.8e9, "1.80 GB"),
        ("steady_rss_bytes", 62_140_000, "62.1 MB"),
        ("read_bytes_per_token", 6300, "6.30 kB"),
        ("energy_j", 3.25, "3.2 J"),
        ("ttft_s", None, "-"),
    ],
)
def test_values_are_written_in_fitting_units(name, value, text):
    assert format_value(name, value) == text


def test_what_all_cases_share_has_no_column():
    table = make_figures_table([make_result(), make_result(n_depth=64)])
    assert table.head[:2] == ("case", "TTFT")
    assert [row[0] for row in table.rows] == ["pp8+tg3", "pp8+tg3 @ d64"]
    assert table.n_text == 1


def test_figures_of_media_have_columns_where_a_case_has_them():
    heard = make_result(make_sample(encode_s=0.2, media_tokens=189, sound_s=30.0), n_prompt=4)
    titles = {"encode", "RTFx", "tokens"}
    assert titles.isdisjoint(make_figures_table([make_result()]).head)
    table = make_figures_table([make_result(), heard])
    assert titles <= set(table.head)
    cells = [dict(zip(table.head, row, strict=True)) for row in table.rows]
    assert [each["RTFx"] for each in cells] == ["-", "150"]


def test_what_differs_names_cases():
    results = [make_result(kv="f16"), make_result(kv="q8_0", model="other")]
    table = make_figures_table(results)
    assert table.head[:3] == ("case", "model", "kv")
    assert name_cases(results) == ["pp8+tg3 model=tiny kv=f16", "pp8+tg3 model=other kv=q8_0"]
    assert name_cases([]) == []


def test_a_setting_that_means_nothing_to_a_case_is_a_dash():
    results = [make_result(gpu_layers=None), make_result(gpu_layers=2)]
    assert [row[1] for row in make_figures_table(results).rows] == ["-", "2"]


def test_the_memory_table_leaves_out_parts_that_nobody_has():
    parts = {"weights": 50_000_000, "kv": 0, "other": 30_000_000}
    ledger = {"parts": {**dict.fromkeys(make_sample().ledger.parts, 0), **parts}}
    table = make_memory_table([make_result(make_sample(ledger=ledger))])
    assert table.head == (
        *("case", "weights", "other", "RSS", "reclaimable", "peak loading", "peak running"),
    )
    assert table.rows[0][1:4] == ("50.0 MB", "30.0 MB", "80.0 MB")
