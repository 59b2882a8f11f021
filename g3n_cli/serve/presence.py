"""What runs: a small file for each server, for ``g3n ps`` to find."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class Running:
    """A server as it says itself.

    Attributes:
        pid: Its process.
        started: When the process began, in seconds since 1970; tells it from a later one.
        address: Where it answers.
        model: What it answers with.
        size: Which of the nested models.
        n_done: Requests computed so far.
        n_now: Requests that are computed or wait.
    """

    pid: int
    started: float
    address: str
    model: str
    size: str
    n_done: int = 0
    n_now: int = 0


class Presence:
    """The file of this process. That it cannot be written ends nothing.

    Args:
        folder: Where the files of all servers are; made when needed, for the person alone.
        running: What it says at first.
    """

    def __init__(self, folder: Path, running: Running) -> None:
        self._file = folder / f"{running.pid}.json"
        self._running = running
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(self._file, running)

    def note(self, n_done: int, n_now: int) -> None:
        """The number of requests is another."""
        with suppress(OSError):
            _write(self._file, replace(self._running, n_done=n_done, n_now=n_now))

    def end(self) -> None:
        """Take the file away."""
        for file in (self._file, _name_part(self._file)):
            with suppress(OSError):
                file.unlink(missing_ok=True)


def find_folder() -> Path:
    """Where the files of all servers are."""
    import platformdirs

    return Path(platformdirs.user_data_dir("g3n")) / "running"


def describe_process(address: str, model: str, size: str) -> Running:
    """This process as a server."""
    process = psutil.Process()
    return Running(process.pid, process.create_time(), address, model, size)


def find_running(folder: Path) -> list[tuple[Running, int]]:
    """All servers that still run, oldest first, each with the bytes it has in memory.

    Files of processes that are gone, and what is none of these files, are taken away or passed by.
    """
    found = []
    for file in folder.glob("*.json"):
        if (running := _read(file)) is None:
            continue
        try:
            process = psutil.Process(running.pid)
            if abs(process.create_time() - running.started) > 1:
                raise psutil.NoSuchProcess(running.pid)
            found.append((running, int(process.memory_info().rss)))
        except psutil.NoSuchProcess:
            with suppress(OSError):
                file.unlink(missing_ok=True)
        except psutil.AccessDenied:
            continue
    return sorted(found, key=lambda each: each[0].started)


def _read(file: Path) -> Running | None:
    try:
        if file.stat().st_size > MOST_BYTES:
            return None
        told = json.loads(file.read_bytes())
        running = Running(**told)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    kinds = {name: type(value) for name, value in asdict(running).items()}
    right = {name: type(value) for name, value in asdict(Running(1, 1.0, "", "", "")).items()}
    return running if kinds == right and running.pid > 0 else None


def _write(file: Path, running: Running) -> None:
    """As a whole or not at all, readable by the person alone."""
    part = _name_part(file)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        json.dump(asdict(running), stream)
    os.replace(part, file)


def _name_part(file: Path) -> Path:
    return file.with_suffix(".part")
