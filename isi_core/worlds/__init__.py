"""The built-in worlds: drawn by this repository, deterministic, with known truth."""
