"""The page Semantic Uncertainty, part by part."""
