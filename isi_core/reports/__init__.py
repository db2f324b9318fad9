"""Charts, PDFs and data files of what studies found."""
