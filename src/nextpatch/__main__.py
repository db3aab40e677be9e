"""`nextpatch`, or `python -m nextpatch` where the command is not on the path: one command line from start to exit."""

import logging
import os
import sys
import traceback

from nextpatch.cli import main
from nextpatch.train.engine.launch import end_with_launcher


def command() -> None:
    """Run the command line and leave with its exit code.

    A rank that torchrun started leaves without tearing down the interpreter: threads of gloo may still hold tensors
    then, and would abort the process when they let go of them (PyTorch 2.14), or wait for a peer that is dead.
    """
    end_with_launcher()  # before torch is loaded, which takes seconds
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        sys.exit(main())
    try:
        code = main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    command()
