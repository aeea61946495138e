"""Campaigns: long, seeded attacks on vidray as a whole, each re-runnable by hand and run in small by a test."""
