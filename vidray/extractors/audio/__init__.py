"""Extractors of what is heard."""
