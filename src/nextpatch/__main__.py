"""`nextpatch`, or `python -m nextpatch` where the command is not on the path: one command line from start to exit."""

import logging
import os
import sys

from nextpatch.cli import main


def command() -> None:
    """Run the command line and leave with its exit code.

    A rank that torchrun started leaves without tearing down the interpreter: threads of gloo may still hold tensors
    then, and would abort the process when they let go of them (PyTorch 2.14), which torchrun takes for a failure.
    """
    code = main()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    command()
