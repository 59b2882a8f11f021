"""How runs of ``g3n bench`` end: interrupted, on a full disk, with files that are already there."""

import contextlib
import json
import os
import signal
import time

import pexpect
import psutil
import pytest

from tests.model_files import SMALL8
from tests.oracle import find_case
from tests.program import COMMAND, ROOT, assert_fails, make_environment

MAT12 = find_case("mat12", "q8_0").path
TINY = ("bench", "-m", SMALL8, "-t", "1")
SHORT = ("-p", "8", "-n", "3", "-r", "1")
PATIENCE_S = 60


def test_a_full_disk_behind_stdout_is_told(g3n):
    with open("/dev/full", "w") as full, g3n.start(*TINY, *SHORT, stdout=full) as process:
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert b"error: No space left" in errors


def wait_for_cases(path, n_samples):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            cases = json.loads(path.read_text())["cases"]
            if sum(case["repetitions"] for case in cases) >= n_samples:
                return
        time.sleep(0.05)
    raise AssertionError("nothing is measured")


@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_a_valid_file_and_prints_what_there_is(g3n, signal_, code):
    out = g3n.home / "r.json"
    with g3n.start(*TINY, "-p", "8,16", "-n", "3", "-r", "500", "--output", out) as process:
        wait_for_cases(out, 3)
        process.send_signal(signal_)
        printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code
    cases = json.loads(out.read_text())["cases"]
    assert [case["label"] for case in cases] == ["pp8+tg3", "pp16+tg3"]
    assert all(len(case["samples"]) == case["repetitions"] > 0 for case in cases)
    assert printed.decode().splitlines()[2].startswith("pp8+tg3")


def test_a_second_interrupt_does_not_keep_what_there_is_from_being_printed(g3n):
    out = g3n.home / "r.json"
    with g3n.start(*TINY, "-p", "8,16", "-n", "3", "-r", "500", "--output", out) as process:
        wait_for_cases(out, 3)
        for signal_ in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            process.send_signal(signal_)
            time.sleep(0.005)
        printed, told = process.communicate(timeout=PATIENCE_S)
    # The interpreter takes its handlers away before it ends: the last signal may be what ends it.
    assert process.returncode in (130, -signal.SIGINT, -signal.SIGTERM)
    assert b"Traceback" not in told
    assert printed.decode().splitlines()[2].startswith("pp8+tg3")
    (kept,) = (g3n.home / "data" / "g3n" / "bench").iterdir()
    assert json.loads(kept.read_text())["cases"] == json.loads(out.read_text())["cases"]


def test_a_file_that_is_there_stays_until_there_is_a_result(g3n):
    out, gone = g3n.home / "r.json", g3n.home / "gone.json"
    out.write_text("before")
    with g3n.start(*TINY, "-p", "900", "-n", "900", "-r", "1", "--output", out) as process:
        wait_for_workers(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=PATIENCE_S) == (b"", b"")
    assert out.read_text() == "before"
    assert g3n.run(*TINY, *SHORT, "-m", "none", "--output", gone).returncode == 3
    assert not gone.exists()
    assert g3n.run(*TINY, *SHORT, "--output", out).returncode == 0
    assert len(json.loads(out.read_text())["cases"]) == 1


@pytest.mark.parametrize("kind", ["text", "hard link", "link"])
def test_what_is_read_is_not_written_over(g3n, kind):
    text, out = g3n.home / "text.md", g3n.home / "out.md"
    text.write_text("One sentence. " * 100)
    if kind == "text":
        out = text
    elif kind == "link":
        out.symlink_to(text)
    else:
        out.hardlink_to(text)
    done = g3n.run(*TINY, *SHORT, "--file", text, "--output", out)
    assert_fails(done, 2, "is what is measured")
    assert text.read_text().startswith("One sentence.")


def test_a_pipe_gets_one_result_in_the_end(g3n):
    pipe = g3n.home / "pipe"
    os.mkfifo(pipe)
    flags = ("-p", "8,9", "-n", "3", "-r", "2", "-o", "json", "--output", pipe)
    with g3n.start(*TINY, *flags) as process:
        found = json.loads(pipe.read_text())
        printed, _ = process.communicate(timeout=PATIENCE_S)
    assert [case["repetitions"] for case in found["cases"]] == [2, 2]
    assert printed.decode().startswith("case")
    done = g3n.run(*TINY, *SHORT, "-o", "json", "--output", "/dev/full")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"error: cannot write /dev/full: No space left" in done.stderr


def test_what_measures_ends_with_a_parent_that_is_killed(g3n):
    out = g3n.home / "r.json"
    with g3n.start(*TINY, "-p", "8", "-n", "900", "-d", "900", "-r", "500", "--output", out) as run:
        wait_for_cases(out, 1)
        workers = wait_for_workers(run.pid)
        run.kill()
        run.communicate(timeout=PATIENCE_S)
    gone, alive = psutil.wait_procs(workers, timeout=PATIENCE_S)
    assert (len(gone), alive) == (len(workers), [])
    assert json.loads(out.read_text())["cases"][0]["repetitions"] >= 1


def wait_for_workers(pid):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := psutil.Process(pid).children():
            return found
        time.sleep(0.01)
    raise AssertionError("nothing is measured")


# From Python 3.12 on; what pexpect forks becomes another program at once.
@pytest.mark.filterwarnings("ignore:.*forkpty:DeprecationWarning")
def test_at_a_terminal_progress_is_shown_and_ctrl_c_ends_it(tmp_path):
    arguments = ["bench", "-m", str(SMALL8), "-t", "1", "-p", "8", "-n", "3", "-r", "500"]
    child = pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], *arguments],
        cwd=str(ROOT),
        env=make_environment(tmp_path),
        dimensions=(30, 100),
        encoding="utf-8",
        timeout=PATIENCE_S,
    )
    with contextlib.closing(child):
        child.expect(r"[23] of 500, .* left: pp8\+tg3, repetition [34], \w+")
        child.sendintr()
        child.expect("peak running")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 130
