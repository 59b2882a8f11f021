import json
from contextlib import suppress

import numpy as np
import pytest

from g3n_cli.errors import InputError
from g3n_cli.media.attach import MOST_FILES, find_files, read_all, read_attachment
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.source import Source
from tests.media_files import encode, lock_pdf, make_pdf, make_picture

SMALL = MediaOptions(image_size=16)


def read(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (attachment,) = read_all(str(path), SMALL)
    return attachment


def read_text(path, content):
    (part,) = read(path, content).parts
    return part.text


def test_text_is_a_block_with_its_name(tmp_path):
    path = tmp_path / "a.py"
    assert read_text(path, "x = 1\n") == f"{path}:\n```py\nx = 1\n```"


def test_no_line_of_a_text_ends_its_block(tmp_path):
    text = read_text(tmp_path / "a.md", "```\ncode\n```\n")
    assert text.count("````") == 2
    assert text.endswith("\n````")


@pytest.mark.parametrize(
    "content",
    [
        "Füße\n".encode(),
        "\ufeffFüße\n".encode(),
        "Füße\n".encode("utf-16"),
        "Füße\n".encode("latin-1"),
        "Füße\r\n".encode("cp1252"),
    ],
)
def test_encodings_are_found_out(tmp_path, content):
    assert read_text(tmp_path / "a.txt", content).endswith("```txt\nFüße\n```")


def test_an_encoding_of_another_script_is_found_out(tmp_path):
    text = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 9
    assert text.strip() in read_text(tmp_path / "a.txt", text.encode("koi8-r"))


def test_standard_input_may_be_text():
    attachment = read_attachment(Source.of_bytes(b"a,b\n1,2\n"), SMALL)
    assert attachment.parts[0].text == "standard input:\n```\na,b\n1,2\n```"
    assert attachment.description == "text, 2 lines"


def test_a_notebook_is_its_cells(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "words"]},
        {
            "cell_type": "code",
            "source": "1 + 1",
            "outputs": [
                {"output_type": "execute_result", "data": {"text/plain": ["2"]}},
                {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo"}},
            ],
        },
    ]
    text = read_text(tmp_path / "n.ipynb", json.dumps({"cells": cells, "metadata": {}}))
    assert "# Title\nwords" in text
    assert "Code:\n```python\n1 + 1\n```\n\nOutput:\n```\n2\n```" in text
    assert "iVBOR" not in text


@pytest.mark.parametrize("content", ["{}", "[1]", '{"cells": [1]}', "{", '{"cells": 3}'])
def test_a_broken_notebook_is_refused(tmp_path, content):
    with pytest.raises(InputError, match="notebook"):
        read(tmp_path / "n.ipynb", content)


def test_pages_of_a_pdf_are_text_and_an_empty_one_is_left_out(tmp_path):
    attachment = read(tmp_path / "a.pdf", make_pdf("Hello there", None, "Second one"))
    (part,) = attachment.parts
    assert "a.pdf, page 1:\nHello there" in part.text
    assert "a.pdf, page 3:\nSecond one" in part.text
    assert attachment.description == "PDF, 3 pages"


def test_a_page_without_text_is_a_picture(tmp_path):
    attachment = read(tmp_path / "a.pdf", encode(make_picture(), "PDF"))
    title, picture = attachment.parts
    assert title.text.endswith("a.pdf, page 1:")
    assert picture.values.shape == (16, 16, 3)
    assert picture.values.dtype == np.uint8


def test_a_locked_pdf_is_refused(tmp_path):
    with pytest.raises(InputError, match="protected by a password"):
        read(tmp_path / "a.pdf", lock_pdf(make_pdf("Hello there")))


def test_a_pdf_cut_short_is_refused_or_read(tmp_path):
    content = make_pdf("Hello there", "Second one")
    for at in range(8, len(content), 97):
        with suppress(InputError):
            read(tmp_path / "a.pdf", content[:at])


def test_a_folder_is_its_files_without_links_hidden_and_binary_ones(tmp_path):
    (tmp_path / "b.txt").write_text("bee")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.py").write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("hidden")
    (tmp_path / "prog").write_bytes(b"\x7fELF\0\0\1\2" * 50)
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    attachments = read_all(str(tmp_path), SMALL)
    assert [a.name for a in attachments] == [str(tmp_path / "b.txt"), str(tmp_path / "a" / "x.py")]
    assert "1 binary or empty file of" in attachments[-1].description


def test_a_pattern_stands_for_its_matches_in_order(tmp_path):
    for name in ("2.txt", "1.txt", "3.md"):
        (tmp_path / name).write_text(name)
    found = find_files(str(tmp_path / "*.txt"))
    assert [path.name for path in found] == ["1.txt", "2.txt"]
    with pytest.raises(InputError, match="no file matches"):
        find_files(str(tmp_path / "*.rs"))


def test_a_file_whose_name_is_a_pattern_is_that_file(tmp_path):
    (tmp_path / "a[1].txt").write_text("x")
    assert find_files(str(tmp_path / "a[1].txt")) == [tmp_path / "a[1].txt"]


def test_an_address_is_refused_as_one():
    with pytest.raises(InputError, match="nothing is fetched"):
        find_files("https://example.com/a.png?size=2")


def test_too_many_files_are_refused(tmp_path):
    for i in range(MOST_FILES + 1):
        (tmp_path / f"{i}.txt").write_text("x")
    with pytest.raises(InputError, match=f"more than {MOST_FILES} files"):
        read_all(str(tmp_path), SMALL)
