"""Recording with whatever program this system has for it."""

from __future__ import annotations

import io
import shutil
import subprocess
import threading
import wave

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
_PATIENCE_S = 5


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
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(_read_all(process)))
    reader.start()
    try:
        terminal.note(f"Recording with {command[0]}; Enter ends it.")
        terminal.stdin.readline()
    finally:
        failed = process.poll()
        process.terminate()
        reader.join(_PATIENCE_S)
        process.wait(_PATIENCE_S)
    if failed or not heard or not heard[0]:
        assert process.stderr is not None
        said = process.stderr.read().decode(errors="replace").strip().partition("\n")[0]
        raise G3nError(f"{command[0]} recorded nothing" + (f": {said}" if said else ""))
    wav = io.BytesIO()
    with wave.open(wav, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(heard[0][: len(heard[0]) // 2 * 2])
    return wav.getvalue()


def _read_all(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.read()
