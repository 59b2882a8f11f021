"""Fetching one file: resumed after interruptions, its digest checked, there at once or not at all.

huggingface_hub tells where the bytes are and speaks to the server; what a person relies on is done
here. Bytes go to ``FILE.<digest>.part`` as they come; the name holds the beginning of the digest,
so that only parts of the same content are ever joined. Whatever the server says of lengths, the
digest of the whole decides, and only then does the file get its name.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from g3n_cli.errors import G3nError, ServerError
from g3n_cli.registry import store
from g3n_cli.registry.hub import Hiccup, Patience, Remote, give_up, translate, wait
from g3n_cli.registry.store import Record
from g3n_cli.units import format_bytes

if TYPE_CHECKING:
    import httpx2

Progress = Callable[[int, int], None]
"""Called with (bytes there, bytes of the whole, 0 if nobody knows)."""

_CHUNK = 1 << 20
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def fetch(remote: Remote, target: Path, on_progress: Progress, patience: Patience) -> Record:
    """Fetch a file into ``target``, going on where an earlier attempt ended.

    Raises:
        G3nError: the disk is full, somebody else is fetching it, or the bytes are wrong.
        ServerError: the server is not reached, or breaks off again and again.
        ModelError: it refuses.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = _name_part(remote, target)
        for other in store.find_parts(target):
            if other != part:  # of other content
                other.unlink(missing_ok=True)
        with _open_part(part) as fd:
            transfer = _Transfer(remote, fd, on_progress, patience)
            transfer.read_what_is_there()
            _check_space(remote, transfer.n_bytes, target.parent)
            transfer.run()
            os.fsync(fd)
            record = transfer.make_record()
            store.write_record(target, record)
            part.replace(target)
    except OSError as error:
        raise _explain(error, target) from error
    return record


class _Transfer:
    """One file on its way.

    Args:
        remote: What is fetched.
        fd: The part, open for reading and writing.
        on_progress: Told how far it is.
        patience: With the server.

    Attributes:
        n_bytes: Bytes that are there.
    """

    def __init__(self, remote: Remote, fd: int, on_progress: Progress, patience: Patience) -> None:
        self._remote, self._fd = remote, fd
        self._on_progress, self._patience = on_progress, patience
        self._digest = hashlib.sha256()
        self._total = remote.n_bytes
        self._is_whole = False
        self.n_bytes = 0

    def read_what_is_there(self) -> None:
        """Take up an earlier attempt; without a digest nobody knows what it is of."""
        if self._remote.sha256 is None:
            self._forget()
            return
        while block := os.pread(self._fd, _CHUNK, self.n_bytes):
            self._digest.update(block)
            self.n_bytes += len(block)
            self._tell()

    def run(self) -> None:
        """Fetch what is missing and check all of it; once more from the start if parts were old."""
        was_resumed = self.n_bytes > 0
        self._fetch_all()
        if not self._is_right() and was_resumed:
            self._forget()
            self._fetch_all()
        if not self._is_right():
            found, wanted = self._digest.hexdigest(), self._remote.sha256 or ""
            self._forget()
            raise G3nError(
                f"the server sent wrong bytes for {self._remote.file.ref}: sha256 begins "
                f"{found[:12]}, not {wanted[:12]}",
                "what it sent is deleted; try again, perhaps from another network",
            )

    def make_record(self) -> Record:
        """What is known of the file now."""
        file = self._remote.file
        return Record(
            repo=file.repo,
            file=file.file,
            revision=self._remote.revision,
            n_bytes=self.n_bytes,
            sha256=self._digest.hexdigest(),
            is_verified=self._remote.sha256 is not None,
        )

    def _is_right(self) -> bool:
        return self._remote.sha256 in (None, self._digest.hexdigest())

    def _is_complete(self) -> bool:
        return self._is_whole or (self._total is not None and self.n_bytes >= self._total)

    def _fetch_all(self) -> None:
        attempt = 0
        while not self._is_complete():
            before = self.n_bytes
            try:
                translate(self._remote.file, self._request)
            except Hiccup as hiccup:
                attempt = 0 if self.n_bytes > before else attempt + 1
                if attempt == self._patience.n_attempts:
                    raise give_up(hiccup) from hiccup
                wait(hiccup, max(0, attempt - 1), self._patience)

    def _request(self) -> None:
        """One request for what is missing."""
        import httpx2
        from huggingface_hub import get_session, hf_raise_for_status
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        headers = {**build_hf_headers(library_name="g3n"), "Accept-Encoding": "identity"}
        if self.n_bytes:
            headers["Range"] = f"bytes={self.n_bytes}-"
        timeout = httpx2.Timeout(self._patience.silence_s)
        url = self._remote.url
        with get_session().stream(
            "GET", url, headers=headers, timeout=timeout, follow_redirects=True
        ) as response:
            if response.status_code == 416:  # what is there is as long as the whole, or longer
                self._forget()
                raise Hiccup(f"the server has nothing after byte {self.n_bytes}", 0)
            if response.status_code >= 400:
                response.read()
                hf_raise_for_status(response)
            self._check_length(response)
            self._take(response)

    def _check_length(self, response: httpx2.Response) -> None:
        """Compare what the answer says of itself with what is expected.

        Raises:
            ServerError: they contradict each other.
        """
        start, told = 0, response.headers.get("Content-Length")
        total = int(told) if told and told.isdigit() else None
        if response.status_code == 206:
            match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            start = int(match[1]) if match else -1
            total = int(match[2]) if match and match[2] != "*" else None
            if start != self.n_bytes:
                raise self._distrust("sends another part than was asked for")
        if start == 0 and self.n_bytes:  # it cannot resume
            self._forget()
        if self._total is None:
            self._total = total
        elif total is not None and total != self._total:
            raise self._distrust(f"offers {total:,} bytes where {self._total:,} were announced")

    def _distrust(self, lie: str) -> ServerError:
        return ServerError(
            f"cannot fetch {self._remote.file.ref}: the server {lie}",
            "a proxy or mirror between may be at fault",
        )

    def _take(self, response: httpx2.Response) -> None:
        """Write what comes, never more than the whole."""
        for block in response.iter_raw():  # in larger blocks a drop would lose what was gathered
            room = len(block) if self._total is None else self._total - self.n_bytes
            self._write(block[:room])
            self._tell()
            if len(block) > room:
                if self._remote.sha256 is None:
                    raise self._distrust(f"sends more than the {self._total:,} bytes announced")
                break  # the digest decides
        if self._total is None:  # nothing tells the end but the end
            self._is_whole = True
        elif self.n_bytes < self._total:
            raise Hiccup(
                f"the server broke off {self._remote.file.ref} at {self.n_bytes:,} of "
                f"{self._total:,} bytes"
            )

    def _write(self, block: bytes) -> None:
        view = memoryview(block)
        while view:
            n_written = os.pwrite(self._fd, view, self.n_bytes)
            self._digest.update(view[:n_written])
            self.n_bytes += n_written
            view = view[n_written:]

    def _forget(self) -> None:
        os.ftruncate(self._fd, 0)
        self._digest, self.n_bytes, self._is_whole = hashlib.sha256(), 0, False

    def _tell(self) -> None:
        self._on_progress(self.n_bytes, self._total or 0)


def _name_part(remote: Remote, target: Path) -> Path:
    return target.with_name(f"{target.name}.{(remote.sha256 or '0')[:16]}.part")


@contextmanager
def _open_part(part: Path) -> Iterator[int]:
    """A part that nobody else writes to."""
    fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    is_ours = False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between opening and locking, the other one may have given the file its final name.
        is_ours = part.exists() and os.path.samestat(os.fstat(fd), part.stat())
        if not is_ours:
            raise BlockingIOError
        yield fd
    except BlockingIOError:
        raise G3nError("another g3n pull is fetching this file", "wait for it, or end it") from None
    finally:
        if is_ours and os.fstat(fd).st_size == 0:
            part.unlink(missing_ok=True)
        os.close(fd)


def _check_space(remote: Remote, n_there: int, folder: Path) -> None:
    """Refuse before the disk is full, not after."""
    missing = (remote.n_bytes or 0) - n_there
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise G3nError(
            f"{remote.file.file} needs {format_bytes(missing)}, {folder} has {format_bytes(free)}",
            "make room, or name another folder with G3N_MODELS",
        )


def _explain(error: OSError, target: Path) -> G3nError:
    if error.errno in _FULL:
        return G3nError(
            f"{target.parent} is full ({error.strerror})",
            "make room and run the same command again: it goes on from there",
        )
    return G3nError(f"cannot write {target}: {error.strerror or error}")
