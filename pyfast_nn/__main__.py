"""`python -m pyfast_nn` is the same as `pyfast-nn`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
