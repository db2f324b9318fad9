"""Sweeps: a dataset under every condition that was asked for, put to one or several models."""
