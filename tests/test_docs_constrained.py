"""The scripts in docs/constrained.md run as they stand, with the bundled model."""

import json
import re
import subprocess
import sys

import pytest

from tests.program import ROOT, make_environment

SCRIPTS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "constrained.md").read_text(), re.DOTALL)


@pytest.fixture
def run(tmp_path):
    program = tmp_path / "bin" / "g3n"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m g3n_cli "$@"\n')
    program.chmod(0o755)
    environment = make_environment(tmp_path, PYTHONPATH=str(ROOT))
    environment["PATH"] = f"{program.parent}:{environment['PATH']}"

    def run_script(script):
        return subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout

    return run_script


def test_scripts_do_what_they_are_shown_for(run, tmp_path):
    fields, event, reviews, alarm = SCRIPTS
    told = run(fields)
    assert told == "no answer: 6\n" or json.loads((tmp_path / "moon.json").read_text())["word"]
    assert run(event) == ""
    assert json.loads((tmp_path / "events.jsonl").read_text())["kind"] in (
        *("meeting", "birthday", "other"),
    )
    assert set(run(reviews).split()) <= {"positive", "negative", "neutral"}
    assert run(alarm) in ("yes\nlook after it\n", "no\nnothing to do\n")
