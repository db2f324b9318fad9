"""ISI Studio's engine: everything that is not a widget, importable from a notebook.

The packages stand on floors and import only from floors below their own
(`lint-imports` keeps it so): domain, worlds, models/datasets/store, measures,
studies, reports, ui, and the command line with training on top.
"""

__version__ = "0.1.0"
