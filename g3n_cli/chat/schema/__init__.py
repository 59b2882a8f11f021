"""JSON Schemas: read, turned into grammars that answers follow, and what answers are checked by."""
