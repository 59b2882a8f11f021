import pytest

from g3n_cli.ui.extract import extract_block


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("no block", "no block", "no block"),
        ("", "", ""),
        ("```\na\n```", "a\n", "a\n"),
        ("Sure:\n\n```sh\nls\n```\nand\n~~~\nb\n~~~\n", "ls\n", "b\n"),
        ("````md\n```\ninner\n```\n````", "```\ninner\n```\n", "```\ninner\n```\n"),
        ("1. Do\n\n   ```\n   x\n     y\n   ```\n", "x\n  y\n", "x\n  y\n"),
        ("```\ncut off\nhere", "cut off\nhere", "cut off\nhere"),
        ("Use `ls`, or ``` in a line", "Use `ls`, or ``` in a line", "Use `ls`, or ``` in a line"),
        ("```\n```", "", ""),
    ],
)
def test_blocks_of_an_answer(text, first, last):
    assert extract_block(text, "first") == first
    assert extract_block(text, "last") == last
