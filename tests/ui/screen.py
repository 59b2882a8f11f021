"""A terminal of a few lines, as far as answers use one."""

import re

TOKEN = re.compile(r"\x1b\[\??[\d;]*[A-Za-z]|\n|\r|[^\x1b\n\r]+")


class FakeScreen:
    """Keeps every line that was ever shown; the last ``height`` of them can change.

    Args:
        width: Columns; longer text goes on in the next row.
        height: Rows.
    """

    def __init__(self, width=80, height=24):
        self.width, self.height = width, height
        self.rows = [""]
        self.row = self.column = 0

    def write(self, text):
        for token in TOKEN.findall(text):
            if token == "\n":
                self._go_down()
                self.column = 0
            elif token == "\r":
                self.column = 0
            elif token.startswith("\x1b["):
                self._obey(token)
            else:
                self._put(token)

    def lines(self):
        return [row.rstrip() for row in self.rows]

    def _go_down(self):
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append("")

    def _put(self, text):
        for char in text:
            if self.column == self.width:
                self._go_down()
                self.column = 0
            row = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = row[: self.column] + char + row[self.column + 1 :]
            self.column += 1

    def _obey(self, code):
        name, number = code[-1], code[2:-1]
        if name == "A":
            top = max(0, len(self.rows) - self.height)
            self.row = max(top, self.row - int(number or 1))
        elif name in "KJ":
            self.rows[self.row] = self.rows[self.row][: self.column]
            if name == "J":
                del self.rows[self.row + 1 :]
        else:
            assert name in "mhl", code
