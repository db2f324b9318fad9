"""Image editors behind one protocol."""
