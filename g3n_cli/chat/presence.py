"""What runs: a small file for each process that holds a model, for ``g3n ps`` to find."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:  # who only looks needs no engine
    from g3n_cli.chat.conversation import Conversation

MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class Running:
    """A process as it says itself: nothing of what is asked or answered.

    Attributes:
        pid: Its process.
        started: When the process began, in seconds since 1970; tells it from a later one.
        command: What of g3n it is: ``serve``, ``chat``, ...
        model: What it answers with.
        size: Which of the nested models.
        address: Where a server answers; "" for others.
        n_done: Answers so far; of a benchmark, repetitions.
        n_now: Answers that are computed or wait; 0 where a server or a person is waited for.
        cache_limit_bytes: Memory that a server's kept conversations may take; 0 for others.
        cache_bytes: What they take.
        n_cached: How many are kept.
    """

    pid: int
    started: float
    command: str
    model: str
    size: str
    address: str = ""
    n_done: int = 0
    n_now: int = 0
    cache_limit_bytes: int = 0
    cache_bytes: int = 0
    n_cached: int = 0


class Presence:
    """The file of this process. That it cannot be written ends nothing.

    Args:
        folder: Where the files of all processes are; made when needed, for the person alone.
        running: What it says at first.
    """

    def __init__(self, folder: Path, running: Running) -> None:
        self._file = folder / f"{running.pid}.json"
        self._running = running
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(self._file, running)

    def note(self, n_done: int, n_now: int, cache_bytes: int = 0, n_cached: int = 0) -> None:
        """The number of answers is another, and what is kept of conversations."""
        self._running = replace(
            self._running, n_done=n_done, n_now=n_now, cache_bytes=cache_bytes, n_cached=n_cached
        )
        with suppress(OSError):
            _write(self._file, self._running)

    def note_chat(self, size: str, n_now: int) -> None:
        """A conversation's answer begins (1) or has ended (0)."""
        self._running = replace(self._running, size=size)
        self.note(self._running.n_done + 1 - n_now, n_now)

    def close(self) -> None:
        """Take the file away."""
        for file in (self._file, _name_part(self._file)):
            with suppress(OSError):
                file.unlink(missing_ok=True)


def find_folder() -> Path:
    """Where the files of all processes are."""
    import platformdirs

    return Path(platformdirs.user_data_dir("g3n")) / "running"


def describe_process(
    command: str, model: str, size: str, address: str = "", cache_limit_bytes: int = 0
) -> Running:
    """This process."""
    process = psutil.Process()
    return Running(
        process.pid,
        process.create_time(),
        command,
        model,
        size,
        address,
        cache_limit_bytes=cache_limit_bytes,
    )


@contextmanager
def present(conversation: Conversation, command: str) -> Iterator[None]:
    """Let ``g3n ps`` see a conversation while the context lasts; not one with a server."""
    engine = conversation.engine
    if engine is None:
        yield
        return
    running = describe_process(command, conversation.name, engine.info.size)
    with closing(Presence(find_folder(), running)) as presence:
        conversation.on_busy = lambda n_now: presence.note_chat(engine.info.size, n_now)
        yield


def find_running(folder: Path) -> list[tuple[Running, int]]:
    """All that still runs, oldest first, each with the bytes it and what it started have in memory.

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
            found.append((running, _count_memory(process)))
        except psutil.NoSuchProcess:
            with suppress(OSError):
                file.unlink(missing_ok=True)
        except psutil.AccessDenied:
            continue
    return sorted(found, key=lambda each: each[0].started)


def _count_memory(process: psutil.Process) -> int:
    """Resident bytes of a process and of those that it started, as those of a benchmark."""
    rss = int(process.memory_info().rss)
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            rss += int(child.memory_info().rss)
    return rss


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
