"""Entailment models behind one protocol."""
