"""Words that flags of ``g3n bench`` take; light, as every start of g3n reads them."""

from __future__ import annotations

from typing import Literal

Content = Literal["text", "random"]
FileFormat = Literal["md", "json", "jsonl", "csv", "sql", "html"]
Format = Literal["table", "md", "json", "jsonl", "csv", "sql", "html"]
TableFormat = Literal["table", "md", "json"]
Preset = Literal["quick", "full", "google"]
