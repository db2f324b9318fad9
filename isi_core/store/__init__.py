"""Nouns into SQLite and back."""
