import os
import subprocess
import sys
import threading

import pytest

from g3n_cli.bench.files import (
    History,
    check_file,
    name_sources,
    read_report,
    write_file,
    write_report,
)
from g3n_cli.errors import ExitCode, G3nError, InputError, UsageError
from tests.bench.samples import make_report, make_result

REPORT = make_report()


def test_a_report_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "r.json"
    write_report(make_report(make_result(n_depth=5)), path, "json")
    write_report(REPORT, path, "json")
    assert read_report(path) == REPORT
    assert os.listdir(tmp_path) == ["r.json"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link.json").symlink_to(tmp_path / "target.json")
    write_report(REPORT, tmp_path / "link.json", "json")
    assert (tmp_path / "link.json").is_symlink()
    assert read_report(tmp_path / "target.json") == REPORT


def test_a_pipe_is_written_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_report(REPORT, pipe, "md")
    reader.join()
    assert read[0].startswith("Some CPU")
    assert pipe.is_fifo()


def test_a_full_disk_is_a_failure_and_a_missing_folder_a_mistake(tmp_path):
    with pytest.raises(G3nError, match="No space left") as full:
        write_report(REPORT, type(tmp_path)("/dev/full"), "json")
    assert full.value.exit_code == ExitCode.FAILURE
    for path in (tmp_path / "none" / "r.json", tmp_path):
        with pytest.raises(UsageError, match="cannot write"):
            write_report(REPORT, path, "json")


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"{}"])
def test_what_is_no_report_is_refused(tmp_path, content):
    path = tmp_path / "r.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"r\.json"):
        read_report(path)


def test_a_look_whether_a_file_can_be_written_changes_nothing(tmp_path):
    path = tmp_path / "r.json"
    check_file(path)
    assert os.listdir(tmp_path) == []
    path.write_text("before")
    check_file(path)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["r.json"]
    for wrong in (tmp_path, tmp_path / "none" / "r.json", path / "r.json"):
        with pytest.raises(UsageError, match="cannot write"):
            check_file(wrong)


def test_who_may_read_a_file_stays_as_it_was(tmp_path):
    path = tmp_path / "r.json"
    path.write_text("before")
    path.chmod(0o600)
    write_file(path, b"after")
    assert path.stat().st_mode & 0o777 == 0o600


def test_files_that_are_called_alike_are_told_apart(tmp_path):
    a, b, c = (tmp_path / name for name in ("a/r.json", "b/r.json", "c.json"))
    assert name_sources([a, b, c], has_ending=True) == [str(a), str(b), "c.json"]
    assert name_sources([a, a, c], has_ending=False) == ["r", "r", "c"]


def test_no_json_is_too_deep(tmp_path):
    (tmp_path / "r.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"r\.json is no result"):
        read_report(tmp_path / "r.json")


def test_history_keeps_runs_in_order(tmp_path):
    history = History(tmp_path / "made" / "bench")
    assert history.list_files() == []
    first = history.save(REPORT)
    assert history.list_files() == [first]
    assert read_report(first) == REPORT
    assert "2026-11-25T000000" in first.name


def test_a_history_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        History(tmp_path / "file" / "bench").save(REPORT)


def test_a_disk_that_gets_full_leaves_what_was_written_before(tmp_path):
    path = tmp_path / "r.json"
    write_file(path, b"before")
    script = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from g3n_cli.bench.files import write_file\nfrom g3n_cli.errors import G3nError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n    write_file(Path(sys.argv[1]), b'x' * 5000)\n"
        "except G3nError as error:\n    print(error.exit_code, error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, check=True)
    assert done.stdout.decode().startswith("1 cannot write")
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["r.json"]
