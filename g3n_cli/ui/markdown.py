"""Blocks of Markdown as lines for a terminal."""

from __future__ import annotations

from io import StringIO
from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.segment import Segment, Segments
from rich.syntax import Syntax
from rich.text import Text

from g3n_cli.ui.blocks import Block, parse

CODE_THEME = "ansi_dark"  # the terminal's own 16 colours, which its owner can read


class Line(NamedTuple):
    """One line on the screen.

    Attributes:
        ansi: What to write.
        n_cells: Columns it takes.
    """

    ansi: str
    n_cells: int


BLANK = Line("", 0)


class Renderer:
    """Renders blocks for a terminal with the abilities of this process's environment."""

    def __init__(self) -> None:
        self._console = Console(file=StringIO(), force_terminal=True, highlight=False)

    def render(self, block: Block, width: int) -> list[list[Line]]:
        """Lines of a block, in groups: of a code block one for each line of code.

        Groups of a code block that is still growing stay as they are, except the last.
        """
        if block.kind == "fence":
            return self._render_fence(block.source, width)
        return [self._lines(_ChatMarkdown(block), width)]

    def _render_fence(self, source: str, width: int) -> list[list[Line]]:
        (token,) = parse(source)
        opening = Text(f"{token.markup}{token.info}", style="dim", overflow="fold")
        groups = [self._lines(opening, width)]
        if code := token.content.rstrip("\n"):
            language = token.info.split()[0] if token.info.split() else "text"
            groups += [self._lines(line, width) for line in _highlight(code, language)]
        _, _, last = source.partition("\n")[2].rpartition("\n")
        if last.strip().strip(token.markup[0]) == "" and len(last.strip()) >= len(token.markup):
            groups.append(self._lines(Text(token.markup, style="dim"), width))
        return groups

    def _lines(self, shown: RenderableType, width: int) -> list[Line]:
        options = self._console.options.update(width=width, height=None)
        lines = [self._line(line) for line in self._console.render_lines(shown, options, pad=False)]
        inked = [i for i, line in enumerate(lines) if line.n_cells]
        return lines[inked[0] : inked[-1] + 1] if inked else lines[:1]

    def _line(self, segments: list[Segment]) -> Line:
        """One line without the space at its end, so that a narrower window does not wrap it."""
        while segments and not segments[-1].text.strip():
            segments = segments[:-1]
        if segments:
            segments = [*segments[:-1], segments[-1]._replace(text=segments[-1].text.rstrip())]
        with self._console.capture() as capture:
            self._console.print(Segments(segments), end="", soft_wrap=True)
        return Line(capture.get(), sum(cell_len(segment.text) for segment in segments))


def _highlight(code: str, language: str) -> list[Text]:
    syntax = Syntax(code, language, theme=CODE_THEME, background_color="default")
    return list(syntax.highlight(code).split("\n"))[: code.count("\n") + 1]


class _CodeBlock(CodeBlock):
    """Code without a border or a background, which would be copied with it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip()
        yield Syntax(
            code, self.lexer_name, theme=CODE_THEME, background_color="default", word_wrap=True
        )


class _Heading(Heading):
    """A heading at the left."""

    LEVEL_ALIGN: ClassVar = dict.fromkeys(Heading.LEVEL_ALIGN, "left")


class _ChatMarkdown(Markdown):
    """One block; links show where they lead."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "fence": _CodeBlock,
        "code_block": _CodeBlock,
        "heading_open": _Heading,
    }

    def __init__(self, block: Block) -> None:
        super().__init__("", hyperlinks=False)
        self.parsed = parse(block.source)
        if block.number is not None:
            self.parsed[0].attrs["start"] = block.number
