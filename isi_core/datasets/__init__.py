"""Files into nouns and back."""
