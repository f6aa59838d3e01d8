"""`python -m cpd COMMAND ...`: everything the app does, headless."""

from __future__ import annotations

import sys

from cpd.cli import main

if __name__ == "__main__":
    sys.exit(main())
