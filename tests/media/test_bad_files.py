"""Files that are not what they seem: one line, and nothing else happens."""

import os
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g3n_cli.errors import InputError
from g3n_cli.media.attach import read_all, read_attachment
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.source import Source
from tests.media_files import encode, encode_video, encode_wav, make_pdf, make_picture, make_tone

SMALL = MediaOptions(image_size=16)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.png", b"only words", "holds text, no picture"),
        ("a.mp3", b"only words", "holds text, no sound"),
        ("a.txt", b"", "is empty"),
        ("a.bin", bytes(range(256)) * 9, "is binary"),
        ("a.txt", b"text\0" * 99, "is binary"),
        ("a.txt", b" \n", "is empty"),
        ("a.mp4", b"\0\0\0\x18ftypisom" + bytes(500), "cannot read"),
        ("a.ogg", b"OggS\0\2" + bytes(500), "cannot read"),
    ],
)
def test_one_line_says_what_is_wrong(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read_all(str(tmp_path / name), SMALL)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", ["nothing-here", "a\0b", "~nobody-of-that-name/x", "/dev/zero"])
def test_what_is_no_file_is_refused(name):
    with pytest.raises(InputError):
        read_all(name, SMALL)


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(InputError, match="symbolic links"):
        read_all(str(tmp_path / "a"), SMALL)


def test_a_pipe_that_nobody_writes_to_is_given_up(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(InputError, match="nobody writes"):
        Source.of_path(path, patience_s=0.2)


def test_a_pipe_is_read_to_its_end(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def write():
        with path.open("w") as pipe:
            for part in ("one ", "two"):
                pipe.write(part)
                pipe.flush()
                time.sleep(0.05)

    writer = threading.Thread(target=write)
    writer.start()
    source = Source.of_path(path, patience_s=10)
    writer.join()
    assert source.content == b"one two"


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """A file of each kind, as bytes."""
    folder = tmp_path_factory.mktemp("samples")
    picture = make_picture(12, 9)
    made = {f"a.{kind}": encode(picture, kind) for kind in ("png", "jpeg", "gif", "webp", "tiff")}
    made |= {"a.wav": encode_wav(make_tone(0.2)), "a.pdf": make_pdf("Hello there", "again")}
    for name in ("v.mp4", "v.mkv"):
        path = encode_video(folder / name, [0, 99, 200], sound=make_tone(0.3))
        made[name] = path.read_bytes()
    return made


CHANGES = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8
)


@settings(max_examples=150, deadline=None)
@given(kind=st.integers(0, 8), changes=CHANGES, kept=st.sampled_from([1.0, 0.9, 0.5, 0.1]))
def test_damaged_files_are_read_or_refused(samples, kind, changes, kept):
    name = sorted(samples)[kind]
    content = bytearray(samples[name])
    for at, value in changes:
        content[int(at * len(content))] = value
    damaged = bytes(content[: max(1, int(kept * len(content)))])
    message = read_or_refuse(Source.of_bytes(damaged, name))
    assert message == "" or ("\n" not in message and name in message)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(min_size=1, max_size=300))
def test_any_bytes_are_read_or_refused(content):
    assert "\n" not in read_or_refuse(Source.of_bytes(content))


def read_or_refuse(source):
    """Why a file is refused, or "" if it is not."""
    try:
        read_attachment(source, SMALL)
    except InputError as error:
        return error.message
    return ""
