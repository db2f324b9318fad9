"""Which attributes a classifier listens to: edits, scores, search (DiffEx, CVPR 2025)."""
