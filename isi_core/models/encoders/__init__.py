"""Models that turn short texts and pictures into vectors of equal size."""
