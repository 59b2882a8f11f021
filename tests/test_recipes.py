"""Examples of the documentation, run as they are written."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.encoders.audio_oracle import FOLDER as SOUNDS
from tests.program import ROOT, make_environment

DOCS = ROOT / "docs"
SEES_AND_HEARS = ROOT / "tests" / "data" / "multimodal" / "model.gguf"
PICTURES = ROOT / "tests" / "data" / "vision"
RECIPES = ("commit", "log", "captions", "recordings")


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


@pytest.fixture
def shell(tmp_path: Path):
    """Runs a script where ``g3n`` is a command and the recipes' files are there."""
    work = tmp_path / "work"
    for folder in ("photos", "memos", "bin"):
        (work / folder).mkdir(parents=True)
    program = work / "bin" / "g3n"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m g3n_cli "$@"\n')
    program.chmod(0o755)
    (work / "app.log").write_text("started\nno space left on device\nstopped\n")
    for name in ("picture-64.png", "picture-128.png"):
        shutil.copy(PICTURES / name, work / "photos")
    shutil.copy(SOUNDS / "wav" / "sweep_1s.wav", work / "memos")

    def run(script: str, **changes: str) -> Path:
        environment = make_environment(tmp_path, PYTHONPATH=str(ROOT), **changes)
        environment["PATH"] = f"{program.parent}:{environment['PATH']}"
        command = ["bash", "-e", "-o", "pipefail", "-c", script]
        done = subprocess.run(
            command, cwd=work, env=environment, capture_output=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr.decode()
        return work

    return run


def recipe(name: str) -> str:
    return dict(zip(RECIPES, find_blocks("scripting.md", "sh"), strict=True))[name]


def test_a_message_for_a_commit(shell):
    names = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
    begin = "git init -q .\necho moon > note.txt\ngit add note.txt\n"
    script = begin + recipe("commit") + "git log --format=%B > log.txt\n"
    work = shell(script, **dict.fromkeys(names, "x"))
    message = (work / "message.txt").read_text().strip()
    assert message
    assert (work / "log.txt").read_text().strip() == message


def test_lines_of_a_log_are_judged(shell):
    work = shell(recipe("log"))
    rows = [line.split("\t") for line in (work / "triage.tsv").read_text().splitlines()]
    assert [row[1] for row in rows] == (work / "app.log").read_text().splitlines()
    assert {row[0] for row in rows} <= {"yes", "no"}


def test_pictures_get_captions(shell):
    script = recipe("captions")
    work = shell(script, G3N_MODEL=str(SEES_AND_HEARS))
    once = (work / "captions.jsonl").read_bytes()
    captions = [json.loads(line) for line in once.splitlines()]
    names = sorted(path.name for path in (work / "photos").iterdir())
    assert [Path(caption["file"]).name for caption in captions] == names
    assert all(caption["text"] for caption in captions)
    shell(script, G3N_MODEL=str(SEES_AND_HEARS))
    assert (work / "captions.jsonl").read_bytes() == once


def test_recordings_are_written_down(shell):
    work = shell(recipe("recordings"), G3N_MODEL=str(SEES_AND_HEARS))
    assert (work / "memos" / "sweep_1s.txt").read_text().strip()
