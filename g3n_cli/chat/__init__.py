"""Conversations: turn markup, history, streaming replies."""
