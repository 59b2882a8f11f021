"""A full disk and folders that cannot be written, as ``disk_worker`` makes them."""

import shutil
import subprocess
import sys

import pytest

from tests.program import ROOT


def can_mount():
    """Whether this machine lets a person mount in namespaces of their own."""
    if not shutil.which("unshare"):
        return False
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="nothing can be mounted here")
@pytest.mark.parametrize("state", ["full", "read_only", "killed"])
def test_a_home_that_cannot_be_written_to(tmp_path, state):
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-m", "tests.disk_worker", state, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
