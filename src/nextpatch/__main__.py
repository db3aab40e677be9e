"""`python -m nextpatch`, where the command is not on the path."""

import sys

from nextpatch.cli import main

if __name__ == "__main__":
    sys.exit(main())
