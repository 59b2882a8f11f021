"""``g3n map``: results that an earlier run left, disks that are full."""

import random
import resource
import signal
import subprocess
import time

from tests.map_inputs import QUICK, SCHEMA, join, make_input
from tests.program import COMMAND, ROOT, assert_fails, make_environment


def run_with_file(g3n, path, *arguments, **more):
    return g3n.run("map", *QUICK, "say {}", "--output", path, *arguments, **more)


def test_what_was_killed_again_and_again_goes_on_to_the_same_file(g3n, tmp_path):
    whole, path = tmp_path / "whole", tmp_path / "out"
    assert run_with_file(g3n, whole, stdin=make_input()).returncode == 0
    stdin = tmp_path / "in"
    stdin.write_text(make_input())
    chance = random.Random(5)
    n_kills = 0
    while path.read_bytes() != whole.read_bytes() if path.exists() else True:
        n_lines = path.read_bytes().count(b"\n") if path.exists() else 0
        with stdin.open("rb") as lines:
            process = g3n.start(
                *("map", *QUICK, "say {}", "--output", path, "--resume"), stdin=lines
            )
        with process:
            wait_for_lines(path, n_lines + chance.randrange(1, 8), process)
            process.kill()
        n_kills += process.returncode == -signal.SIGKILL
        assert whole.read_bytes().startswith(path.read_bytes())
    assert n_kills >= 3
    before = path.read_bytes()
    done = run_with_file(g3n, path, "--resume", stdin=make_input())
    assert (done.returncode, done.stderr) == (0, b"40 inputs\n")
    assert path.read_bytes() == before


def wait_for_lines(path, n_lines, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= n_lines:
            return
        time.sleep(0.001)


def test_a_file_of_something_else_is_refused_and_left_alone(g3n, tmp_path):
    path = tmp_path / "out"
    assert run_with_file(g3n, path, stdin=join("a", "b")).returncode == 0
    content = path.read_bytes()
    assert_fails(run_with_file(g3n, path, stdin=join("a", "b")), 2, "is not empty")
    others = [
        (("--temp", 1), join("a", "b")),
        (("--system", "be brief"), join("a", "b")),
        ((), join("a", "c")),
        ((), join("a")),
    ]
    for arguments, stdin in others:
        done = run_with_file(g3n, path, "--resume", *arguments, stdin=stdin)
        assert_fails(done, 2, "another prompt, other inputs or settings")
    assert path.read_bytes() == content
    more = run_with_file(g3n, path, "--resume", "--threads", 1, stdin=join("a", "b", "c"))
    assert more.returncode == 0
    assert path.read_bytes().startswith(content)
    assert path.read_bytes().count(b"\n") == 3


def test_results_of_another_form_of_answers_are_not_gone_on_with(g3n, tmp_path):
    path = tmp_path / "out"
    forms = [("--choice", "a,b"), ("--choice", "b,a"), ("--schema", SCHEMA), ()]
    for form in forms:
        path.unlink(missing_ok=True)
        assert run_with_file(g3n, path, *form, "-n", 60, stdin=join("a")).returncode == 0
        for other in forms:
            done = run_with_file(g3n, path, *other, "-n", 60, "--resume", stdin=join("a", "b"))
            assert done.returncode == (0 if other == form else 2)
            if other == form:
                assert path.read_bytes().count(b"\n") == 2


def test_errors_of_an_earlier_run_still_count(g3n, tmp_path):
    path = tmp_path / "out"
    assert run_with_file(g3n, path, stdin=b"a\n\xff\n").returncode == 1
    done = run_with_file(g3n, path, "--resume", stdin=b"a\n\xff\nb\n")
    assert done.returncode == 1
    assert b"error: 1 of 3 inputs" in done.stderr


def test_a_full_disk_leaves_complete_lines_and_can_be_gone_on_from(g3n, tmp_path):
    whole, path = tmp_path / "whole", tmp_path / "out"
    run_with_file(g3n, whole, stdin=make_input())
    full = subprocess.run(
        [*COMMAND, *map(str, ("map", *QUICK, "say {}", "--output", path))],
        input=make_input().encode(),
        capture_output=True,
        cwd=ROOT,
        env=make_environment(g3n.home),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        check=False,
    )
    assert full.returncode == 1
    assert f"error: cannot write {path}" in full.stderr.decode()
    assert b"Traceback" not in full.stderr
    content = path.read_bytes()
    assert content.endswith(b"\n")
    assert 0 < len(content) <= 1000
    assert run_with_file(g3n, path, "--resume", stdin=make_input()).returncode == 0
    assert path.read_bytes() == whole.read_bytes()


def test_a_full_disk_behind_stdout_is_1(g3n):
    with open("/dev/full", "wb") as full:
        process = g3n.start("map", *QUICK, "x", "--files", ROOT / "README.md", stdout=full)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.decode().splitlines()[-1] == "error: No space left on device"
