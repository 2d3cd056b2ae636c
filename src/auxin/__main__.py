"""``python -m auxin``: the command line."""

from auxin.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
