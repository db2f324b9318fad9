"""The page Step Order, part by part."""
