"""Training of the embedded models, seeded and resumable."""
