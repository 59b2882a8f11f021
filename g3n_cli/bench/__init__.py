"""Measuring: synthetic models of the real shapes."""
