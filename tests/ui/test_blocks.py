from hypothesis import given, settings
from hypothesis import strategies as st

from g3n_cli.ui.blocks import BlockStream, split_blocks

LINES = st.sampled_from(
    [
        *("plain words", "more **words", "", "# Title", "===", "---", "#", "|"),
        *("- item", "* star", "1. one", "7. seven", "10) ten", "  - nested", "   indented", "-"),
        *("```python", "```", "~~~", "    code", "> quote", "| a | b |", "|---|---|", "| 1 | 2 |"),
        *("<b>html</b>", "<div>", "[a]: http://b", "[a] `code`", "***", "\tx"),
    ]
)
TEXTS = st.lists(LINES, max_size=12).map("\n".join)


@settings(deadline=None)
@given(TEXTS, st.lists(st.integers(1, 9), min_size=1))
def test_pieces_give_the_blocks_of_the_whole_text(text, sizes):
    stream, blocks, rest = BlockStream(), [], text
    while rest:
        for size in sizes:
            blocks += stream.feed(rest[:size])
            rest = rest[size:]
    assert blocks + stream.unfinished() == split_blocks(text)


def test_a_block_is_complete_once_the_next_one_began():
    stream = BlockStream()
    assert stream.feed("one\n") == []
    assert stream.feed("\n") == []
    assert stream.feed("#") == []  # may become a title or a tag
    (block,) = stream.feed(" two\n")
    assert block.source == "one"


def test_lists_come_item_by_item_and_are_numbered_on():
    blocks = split_blocks("3. a\n3. b\n\n   more of b\n3. c\n\n- d")
    assert [(b.kind, b.number) for b in blocks] == [
        ("item", 3),
        ("item", 4),
        ("item", 5),
        ("item", None),
    ]
    assert "more of b" in blocks[1].source
    assert blocks[1].continues(blocks[0])
    assert not blocks[3].continues(blocks[2])
