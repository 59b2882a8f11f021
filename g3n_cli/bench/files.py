"""Where results are kept: the file that a person names, and the history of all runs."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from g3n_cli.bench.choices import FileFormat
from g3n_cli.bench.formats import format_report
from g3n_cli.bench.result import Report
from g3n_cli.errors import G3nError, InputError, UsageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
_BLOCK = 4096
"""Bytes that a full disk has no room for."""


def is_stream(path: Path) -> bool:
    """Whether it is a pipe or a device: what is written there cannot be written anew."""
    return path.exists() and not path.is_file() and not path.is_dir()


def check_file(path: Path) -> None:
    """See whether ``write_file`` can write there; nothing is changed.

    Raises:
        UsageError: the file cannot be written.
        G3nError: the disk is full or fails.
    """
    if is_stream(path):
        return
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        part = _name_part(path.resolve())
        try:
            part.write_bytes(bytes(_BLOCK))
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise _explain(path, error) from error


def write_report(report: Report, path: Path, kind: FileFormat) -> None:
    """Write a report; see ``write_file``."""
    write_file(path, format_report(report, kind).encode())


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that an interruption leaves either the old one or the new.

    Raises:
        UsageError: the file cannot be written.
        G3nError: the disk is full or fails.
    """
    try:
        if path.exists() and not path.is_file():  # a device or a pipe, not to be replaced
            path.write_bytes(content)
            return
        target = path.resolve()  # of a link, what it points to is replaced
        part = _name_part(target)
        try:
            part.write_bytes(content)
            if target.exists():
                shutil.copymode(target, part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise _explain(path, error) from error


def _name_part(target: Path) -> Path:
    """Where a file is written first."""
    return target.with_name(target.name + ".part")


def _explain(path: Path, error: OSError) -> G3nError:
    kind = G3nError if error.errno in _FULL else UsageError
    return kind(f"cannot write {path}: {error.strerror}")


def read_report(path: Path) -> Report:
    """The report in a file.

    Raises:
        InputError: there is none.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no result of g3n bench -o json") from error
    return Report.parse(text, str(path))


def name_sources(paths: Sequence[Path], *, has_ending: bool) -> list[str]:
    """What to call files beside each other: their names, or where two are alike their paths."""
    names = [path.name if has_ending else path.stem for path in paths]
    return [
        name if len({p for p, n in zip(paths, names, strict=True) if n == name}) == 1 else str(path)
        for path, name in zip(paths, names, strict=True)
    ]


class History:
    """All runs of this person, the newest last, as JSON in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of_person(cls) -> History:
        """In the person's data folder."""
        import platformdirs

        return cls(Path(platformdirs.user_data_dir("g3n")) / "bench")

    def save(self, report: Report) -> Path:
        """Keep a report; the file it is in.

        Raises:
            UsageError: the folder cannot be written.
            G3nError: the disk is full or fails.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _explain(self.folder, error) from error
        moment = str(report.environment["time"]).replace(":", "").partition("+")[0]
        path = self.folder / f"{moment}-{os.getpid()}.json"
        write_report(report, path, "json")
        path.chmod(0o600)
        return path

    def list_files(self) -> list[Path]:
        """Files of all runs, the newest first.

        Raises:
            OSError: the folder cannot be read.
        """
        if not self.folder.exists():
            return []
        files = [path for path in self.folder.iterdir() if path.suffix == ".json"]
        return sorted(files, reverse=True)

    def find(self, text: str) -> Path:
        """A file by its path, or by its number in the history, 1 for the newest.

        Raises:
            InputError: there is no such run.
        """
        path = Path(text)
        if path.exists() or not text.isdecimal():
            return path
        return self.find_run(int(text))

    def find_run(self, number: int) -> Path:
        """A file by its number alone, 1 for the newest.

        Raises:
            InputError: there is no such run.
        """
        files = self.list_files()
        if not 1 <= number <= len(files):
            raise InputError(f"there is no run {number}", "see g3n bench history")
        return files[number - 1]
