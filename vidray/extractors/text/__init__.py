"""Extractors of what is written, and of texts."""
