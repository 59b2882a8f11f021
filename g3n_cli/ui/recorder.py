"""Recording with whatever program this system has for it."""

from __future__ import annotations

import io
import shutil
import subprocess
import wave
from tempfile import TemporaryFile

from g3n_cli.errors import G3nError
from g3n_cli.ui.terminal import Terminal

RATE = 16_000
PROGRAMS = (
    ("arecord", "-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", str(RATE)),
    ("parecord", "--raw", "--format=s16le", "--channels=1", f"--rate={RATE}"),
    (
        *("ffmpeg", "-loglevel", "error", "-f", "alsa", "-i", "default"),
        *("-f", "s16le", "-ac", "1", "-ar", str(RATE), "-"),
    ),
)
_START_S = 0.5


def record(terminal: Terminal) -> bytes:
    """A WAV of what the microphone hears until the person presses Enter.

    Raises:
        G3nError: there is no program for it, it fails, or nobody can press Enter.
    """
    command = next((program for program in PROGRAMS if shutil.which(program[0])), None)
    if command is None:
        raise G3nError(
            "no program that records here", "install arecord (alsa-utils), parecord or ffmpeg"
        )
    if not terminal.stdin.isatty():
        raise G3nError("--record wants a terminal, where Enter ends it")
    with TemporaryFile() as heard, TemporaryFile() as said:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=heard, stderr=said
        ) as process:
            try:
                _wait_for_enter(process, command[0], terminal)
            finally:
                process.terminate()
        heard.seek(0)
        said.seek(0)
        samples = heard.read()
        if len(samples) < 2:
            line = said.read().decode(errors="replace").strip().partition("\n")[0]
            raise G3nError(f"{command[0]} recorded nothing" + (f": {line}" if line else ""))
    wav = io.BytesIO()
    with wave.open(wav, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples[: len(samples) // 2 * 2])
    return wav.getvalue()


def _wait_for_enter(process: subprocess.Popen[bytes], name: str, terminal: Terminal) -> None:
    """Wait until the person has said all, unless the program fails at once."""
    try:
        process.wait(_START_S)
    except subprocess.TimeoutExpired:
        terminal.note(f"Recording with {name}; Enter ends it.")
        terminal.stdin.readline()
