"""How to ask a model, whatever its kind, and where the models come from."""
