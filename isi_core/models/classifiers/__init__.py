"""Image classifiers behind one protocol."""
