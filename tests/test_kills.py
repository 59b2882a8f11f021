"""``kill -9`` at random moments, hundreds of times: what was promised to be there is there."""

import subprocess
import sys

from tests.hub_server import run_hub, trickle
from tests.kill_nursery import N_BLOCKS
from tests.program import ROOT

N_SAVES, N_SHARES, N_PULLS = 300, 100, 120
CONTENT = bytes(range(256)) * 2000


def run_nursery(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tests.kill_nursery", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_what_was_saved_survives(tmp_path):
    assert run_nursery("save", tmp_path, N_SAVES) > N_SAVES


def test_shared_state_is_whole_or_refused_and_keeps_to_its_limit(tmp_path):
    assert run_nursery("share", tmp_path, N_SHARES) > N_SHARES


def test_a_file_is_fetched_whole_or_not_at_all(tmp_path):
    with run_hub(CONTENT) as hub:
        hub.script = [trickle(len(CONTENT) // N_BLOCKS, 0.001)] * N_PULLS
        arguments = ("pull", tmp_path, N_PULLS, hub.file_url, hub.sha256, len(CONTENT))
        assert run_nursery(*arguments) > 0
        assert max(hub.starts) > 0  # some went on where a killed one had ended
