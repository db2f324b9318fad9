"""`python -m isi_core`: the command line."""

from isi_core.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
