"""The sweeps panel of the Dataset Browser."""
