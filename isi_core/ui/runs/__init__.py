"""The page Run History."""
