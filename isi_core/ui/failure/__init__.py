"""The page Failure Prediction."""
