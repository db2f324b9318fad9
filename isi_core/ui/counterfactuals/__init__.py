"""The page Counterfactual Ranking, part by part."""
