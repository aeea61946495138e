"""Extractors of what is seen."""
