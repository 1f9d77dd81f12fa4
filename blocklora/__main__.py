"""The command line: `python -m blocklora COMMAND`. The same services as the window, without it."""

from __future__ import annotations

import sys

from blocklora.cli.parser import main

if __name__ == "__main__":
    sys.exit(main())
