import json

import pytest

from g3n_cli.chat.result_file import open_result_file
from g3n_cli.errors import G3nError, UsageError

KEYS = [(0, "a"), (2, "b"), (3, "c")]


def make_lines(*, broken=()):
    records = [
        {"index": index, "key": key, **({"error": "no"} if index in broken else {"text": "é"})}
        for index, key in KEYS
    ]
    return [json.dumps(record, ensure_ascii=False) + "\n" for record in records]


def resume(path):
    with open_result_file(path) as file:
        return file.resume(iter(KEYS))


def test_a_new_file_is_empty_and_takes_lines(tmp_path):
    with open_result_file(tmp_path / "out") as file:
        assert file.is_empty
        assert file.resume(iter(KEYS)) == (0, 0)
        for line in make_lines():
            file.write(line)
    assert (tmp_path / "out").read_text() == "".join(make_lines())


def test_cut_off_anywhere_it_goes_on_with_complete_lines(tmp_path):
    path = tmp_path / "out"
    lines = [line.encode() for line in make_lines(broken=[2])]
    content = b"".join(lines)
    for n_bytes in range(len(content) + 1):
        path.write_bytes(content[:n_bytes])
        n_whole = content[:n_bytes].count(b"\n")
        with open_result_file(path) as file:
            assert file.resume(iter(KEYS)) == (n_whole, int(n_whole > 1))
            for line in lines[n_whole:]:
                file.write(line.decode())
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: ["no json\n", *lines[1:]],
        lambda lines: ["[]\n", *lines[1:]],
        lambda lines: [lines[0], "\n", *lines[1:]],
        lambda lines: lines[1:],
        lambda lines: [lines[0], lines[2], lines[1]],
        lambda lines: [*lines, lines[2]],
        lambda lines: [lines[0].replace('"a"', '"b"')],
    ],
)
def test_what_is_no_result_of_these_inputs_is_refused_and_left_alone(tmp_path, change):
    path = tmp_path / "out"
    path.write_text(content := "".join(change(make_lines())))
    with pytest.raises(UsageError, match="out"):
        resume(path)
    assert path.read_text() == content


def test_two_cannot_write_to_one_file(tmp_path):
    path = tmp_path / "out"
    with (
        open_result_file(path),
        pytest.raises(UsageError, match="another g3n map"),
        open_result_file(path),
    ):
        pass
    assert resume(path) == (0, 0)


def test_a_device_that_takes_nothing_more(tmp_path):
    link = tmp_path / "full"
    link.symlink_to("/dev/full")
    with open_result_file(link) as file, pytest.raises(G3nError, match="No space left"):
        file.write("line\n")
