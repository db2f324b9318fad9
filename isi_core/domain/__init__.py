"""The nouns of the product: frozen dataclasses over NumPy and Pillow, nothing heavier."""
