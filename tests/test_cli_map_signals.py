"""``g3n map`` that is interrupted, loses its reader, or shows a terminal how far it is."""

import json
import signal

import pexpect
import pytest

from tests.map_inputs import MEANING, QUICK, WORDS, join, make_input
from tests.program import COMMAND, ROOT, make_environment


@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_complete_lines(g3n, tmp_path, signal_, code):
    stdin = tmp_path / "in"
    stdin.write_text(make_input() * 100)
    with stdin.open("rb") as lines, g3n.start("map", *QUICK, "x", stdin=lines) as process:
        first = process.stdout.readline()
        process.send_signal(signal_)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == code
    results = (first + rest).splitlines(keepends=True)
    assert all(line.endswith(b"\n") and json.loads(line)["text"] for line in results)
    n_told, told = errors.decode().split(" ", 1)
    assert len(results) - int(n_told) in (0, 1)  # it may arrive between a line and its count
    assert told.startswith("of 4,000 inputs · ")
    assert told.count("\n") == 1


def test_a_reader_that_goes_away_ends_it_silently(g3n, tmp_path):
    stdin = tmp_path / "in"
    stdin.write_text(make_input())
    with stdin.open("rb") as lines, g3n.start("map", *QUICK, "x", stdin=lines) as process:
        process.stdout.readline()
        process.stdout.close()
        process.wait(timeout=60)
        assert (process.returncode, process.stderr.read()) == (141, b"")


# From Python 3.12 on; what pexpect forks becomes another program at once.
@pytest.mark.filterwarnings("ignore:.*forkpty:DeprecationWarning")
def test_a_terminal_shows_how_far_it_is(tmp_path):
    (tmp_path / "in").write_text(join(*WORDS))
    command = [*COMMAND, "map", MEANING, "-o", "text", f"< {tmp_path / 'in'}"]
    child = pexpect.spawn(
        "sh",
        ["-c", " ".join(part if part[0] == "<" else f"'{part}'" for part in command)],
        cwd=str(ROOT),
        env=make_environment(tmp_path),
        encoding="utf-8",
        timeout=60,
    )
    child.expect_exact("0 of 4")
    child.expect_exact("\r\x1b[2KAs a noun, moon means")
    child.expect(r"1 of 4 · .* left")
    child.expect_exact("4 inputs · ")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
