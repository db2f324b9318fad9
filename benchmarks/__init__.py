"""Timings and accuracies as the README states them: `python -m benchmarks.NAME`."""
