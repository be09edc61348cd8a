"""``python -m minicnn``: the command line, as ``minicnn`` runs it where the package is installed."""

import sys

from minicnn.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
