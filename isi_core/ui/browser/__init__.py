"""The page Dataset Browser."""
