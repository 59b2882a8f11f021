import json

import pytest

from g3n_cli.bench.files import History, write_report
from tests.bench.samples import make_report, make_result, make_sample
from tests.program import assert_fails


@pytest.fixture
def files(g3n):
    paths = [g3n.home / name for name in ("a.json", "b.json")]
    for path, gap in zip(paths, (0.1, 0.12), strict=True):
        report = make_report(make_result(make_sample(0.5, (gap,))), make_result(n_depth=64))
        write_report(report, path, "json")
    return paths


def test_ratios_are_printed(g3n, files):
    done = g3n.run("bench", "compare", *files)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines()[2].split()[:4] == [
        "pp8+tg3",
        "1.00x",
        "1.00x",
        "0.83x",
    ]
    rows = json.loads(g3n.run("bench", "compare", *files, "-o", "json").stdout)
    assert rows[0]["ratios"]["decode_tps"] == pytest.approx(0.1 / 0.12)
    assert g3n.run("bench", "compare", *files, "-o", "md").stdout.startswith(b"| case | TTFT |")


def test_a_condition_that_is_met_fails_and_still_prints(g3n, files):
    done = g3n.run("bench", "compare", *files, "--fail-if", "decode_tps < 0.95")
    assert done.returncode == 1
    assert done.stdout.decode().startswith("case")
    (line,) = done.stderr.decode().splitlines()
    assert line == "error: pp8+tg3: decode_tps of b.json is 0.833 of the first"
    assert g3n.run("bench", "compare", *files, "--fail-if", "decode_tps < 0.8").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["a.json"], 2, "nothing to compare"),
        (["a.json", "none.json"], 4, "none.json"),
        (["a.json", "7"], 4, "no run 7"),
        (["a.json", "b.json", "--fail-if", "speed < 1"], 2, "speed"),
        (["a.json", "b.json", "-o", "csv"], 2, "--format"),
    ],
)
def test_what_cannot_be_compared_is_refused(g3n, files, arguments, code, part):
    places = [str(files[0].parent / x) if x.endswith(".json") else x for x in arguments]
    assert_fails(g3n.run("bench", "compare", *places), code, part)


def test_cases_that_one_result_has_alone_are_told(g3n, files):
    write_report(make_report(make_result()), files[1], "json")
    done = g3n.run("bench", "compare", *files)
    assert done.returncode == 0
    assert len(done.stdout.decode().splitlines()) == 3
    assert done.stderr == b"warning: a.json has pp8+tg3 @ d64, b.json has not\n"


def test_results_that_are_called_alike_are_shown_by_their_paths(g3n, files):
    (g3n.home / "new").mkdir()
    other = g3n.home / "new" / "a.json"
    other.write_bytes(files[0].read_bytes())
    rows = json.loads(g3n.run("bench", "compare", *files, other, "-o", "json").stdout)
    assert {row["file"] for row in rows} == {"b.json", str(other)}
    drawn = g3n.run("bench", "plot", files[0], other).stdout.decode()
    assert str(other).removesuffix(".json") in drawn


def test_a_history_of_broken_files_is_not_called_empty(g3n):
    folder = g3n.home / "data" / "g3n" / "bench"
    folder.mkdir(parents=True)
    (folder / "0000.json").write_text("{}")
    done = g3n.run("bench", "history")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"0000.json" in done.stderr
    assert b"no run" not in done.stderr


def test_history_lists_runs_that_compare_finds_by_number(g3n):
    assert b"no run" in g3n.run("bench", "history").stderr
    history = History(g3n.home / "data" / "g3n" / "bench")
    history.save(make_report(make_result(n_prompt=16), make_result(n_prompt=32)))
    (history.folder / "0000.json").write_text("{}")
    done = g3n.run("bench", "history")
    lines = done.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["1", "1"]
    assert "2026-11-25 00:00:00" in lines[2]
    assert b"0000.json" in done.stderr
    assert g3n.run("bench", "compare", "1", "1").returncode == 0


def keep_runs(g3n, *prompts):
    """A history of one run for each length of prompt, the last one the newest."""
    history = History(g3n.home / "data" / "g3n" / "bench")
    for index, n_prompt in enumerate(prompts):
        write_to = history.save(make_report(make_result(n_prompt=n_prompt)))
        write_to.rename(history.folder / f"{index}.json")
    return history.folder


def test_a_run_of_the_history_is_shown_as_it_was(g3n):
    folder = keep_runs(g3n, 16, 32)
    done = g3n.run("bench", "show", "2")
    assert done.returncode == 0
    assert done.stdout.decode().splitlines()[2].startswith("pp16+tg3")
    assert json.loads(g3n.run("bench", "show", "1", "-o", "json").stdout) == json.loads(
        (folder / "1.json").read_text()
    )
    shown = g3n.run("bench", "show", folder / "0.json", "-o", "csv").stdout.decode()
    assert ",pp16+tg3,tiny," in shown.splitlines()[1]
    assert_fails(g3n.run("bench", "show", "3"), 4, "no run 3")


def test_runs_are_removed_from_the_history_by_their_numbers_alone(g3n):
    folder = keep_runs(g3n, 16, 32, 64)
    assert g3n.run("bench", "rm", "1", "3", "3").returncode == 0
    assert [path.name for path in folder.iterdir()] == ["1.json"]
    assert_fails(g3n.run("bench", "rm", "1", "2"), 4, "no run 2")
    assert_fails(g3n.run("bench", "rm", folder / "1.json"), 2, "a valid integer")
    assert_fails(g3n.run("bench", "rm"), 2, "which runs?")
    assert_fails(g3n.run("bench", "rm", "1", "--all"), 2, "which runs?")
    assert [path.name for path in folder.iterdir()] == ["1.json"]
    assert g3n.run("bench", "rm", "--all").returncode == 0
    assert list(folder.iterdir()) == []


def test_results_are_drawn_into_files_and_the_terminal(g3n, files):
    for kind, start in (("svg", b"<svg"), ("SVG", b"<svg"), ("png", b"\x89PNG")):
        out = g3n.home / f"out.{kind}"
        done = g3n.run("bench", "plot", *files, "-o", out)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert out.read_bytes().startswith(start)
    done = g3n.run("bench", "plot", *files)
    assert done.stdout.decode().startswith("Decoding over depth (tokens/s)")


@pytest.mark.parametrize(
    ("flags", "code", "part"),
    [
        (("-o", "out.pdf"), 2, "neither"),
        (("-o", "none/out.svg"), 2, "cannot write"),
    ],
)
def test_a_picture_that_cannot_be_written_is_refused(g3n, files, flags, code, part):
    assert_fails(g3n.run("bench", "plot", *files, *flags), code, part)


def test_a_result_without_a_curve_is_refused(g3n):
    path = g3n.home / "one.json"
    write_report(make_report(make_result()), path, "json")
    assert_fails(g3n.run("bench", "plot", path), 4, "nothing to draw")
