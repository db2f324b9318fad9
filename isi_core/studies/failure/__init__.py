"""Failure prediction: can an explainer tell when a model will fail? (Mathew et al., *Why It Failed*)"""
