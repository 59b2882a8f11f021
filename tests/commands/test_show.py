import json
import re

import pytest
import typer
from typer.testing import CliRunner

from g3n_cli.commands.show import format_size, show
from g3n_cli.errors import ModelError
from g3n_cli.registry.models import resolve
from tests.gguf_edit import U32, array, scalar, text
from tests.oracle import find_case
from tests.tiny_llama import make_llama


def run(*arguments: object) -> str:
    app = typer.Typer()
    app.command()(show)
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def rows_of(output: str) -> dict[str, str]:
    rows = (line.partition("  ") for line in output.splitlines() if line)
    return {label: value.strip() for label, _, value in rows}


def test_a_gemma3n_file_tells_its_shape_and_where_it_goes():
    rows = rows_of(run(find_case("odd7", "q8_0").path))
    assert (rows["Architecture"], rows["Layers"], rows["Width"]) == ("gemma3n", "7", "96")
    assert (rows["Window"], rows["Shared layers"], rows["Context"]) == ("20", "2", "2048")
    assert rows["Q8_0"].startswith("70 tensors")
    assert rows["Left on disk"] == rows["Per-layer embeddings"] == "115 kB"
    assert "K/V at 2048" in rows


def test_another_architecture_leaves_out_what_it_has_none_of(tmp_path):
    rows = rows_of(run(make_llama().write(tmp_path / "model.gguf")))
    assert (rows["Name"], rows["Heads"], rows["K/V heads"]) == ("Tiny llama", "4", "2")
    assert rows.keys().isdisjoint({"Window", "Shared layers", "Per-layer embeddings"})
    assert rows.keys().isdisjoint({"Weights in RAM", "Left on disk"})


def test_numbers_that_differ_by_layer_are_told_with_their_layers(tmp_path):
    draft = make_llama()
    draft.keys["llama.feed_forward_length"] = array(U32, [64, 32])
    rows = rows_of(run(draft.write(tmp_path / "model.gguf")))
    assert rows["FFN width"] == "64 (x1), 32 (x1)"


def test_json_has_the_same_in_bytes():
    path = find_case("odd7", "q8_0").path
    found = json.loads(run(path, "--json"))
    assert found["file_bytes"] == path.stat().st_size
    assert found["types"][0] == {"type": "Q8_0", "n_tensors": 70, "n_bytes": 666264}
    assert found["gemma3n"]["disk_bytes"] == found["ple_bytes"]
    assert found["gemma3n"]["kv"][0]["n_ctx"] == 2048


def test_a_name_cannot_command_the_terminal(tmp_path):
    draft = make_llama()
    draft.keys["general.name"] = text("\x1b[2J\x9bred\nname")
    output = run(draft.write(tmp_path / "model.gguf"))
    assert rows_of(output)["Name"] == "\N{SYMBOL FOR ESCAPE}[2J<U+009B>red name"
    assert "\x1b" not in output
    assert "\x9b" not in output


def test_a_broken_file_is_refused(tmp_path):
    draft = make_llama()
    draft.keys["general.alignment"] = scalar(U32, 3)
    with pytest.raises(ModelError, match="alignment is 3"):
        run(draft.write(tmp_path / "model.gguf"))


@pytest.mark.parametrize(
    ("n_bytes", "wanted"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_996, "10.0 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (2_139_095_040, "2.14 GB"),
        (10**15, "1000 TB"),
    ],
)
def test_sizes_have_three_digits_and_a_unit(n_bytes, wanted):
    assert format_size(n_bytes) == wanted


def test_sizes_are_listed_with_parameters_and_weights():
    path = find_case("mat12", "q8_0").path
    found = json.loads(run(path, "--json"))["sizes"]
    assert [size["name"] for size in found] == ["full"]
    assert found[0]["read_bytes"] < found[0]["n_bytes"] < path.stat().st_size
    assert found[0]["estimated_decode_tps"] > 0
    row = rows_of(run(path))["Size full"]
    assert re.fullmatch(r"1\.0m parameters +1\.11 MB of weights +about [0-9.,]+ tokens/s here", row)


def test_a_smaller_size_is_expected_to_be_faster():
    sizes = json.loads(run(resolve("g3n-mini").path, "--json"))["sizes"]
    speeds = [size["estimated_decode_tps"] for size in sizes]
    assert [size["name"] for size in sizes] == ["full", "medium", "small"]
    assert speeds == sorted(speeds)
