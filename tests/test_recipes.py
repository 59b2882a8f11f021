"""Examples of the documentation, run as they are written."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program import ROOT, make_environment

DOCS = ROOT / "docs"


def find_blocks(page: str, language: str) -> list[str]:
    """Fenced blocks of a page, in order."""
    text = (DOCS / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("code", find_blocks("python.md", "python"))
def test_python_examples_run(code: str, tmp_path: Path):
    environment = make_environment(tmp_path, PYTHONPATH=str(ROOT))
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.strip()
    assert done.stderr == b""
