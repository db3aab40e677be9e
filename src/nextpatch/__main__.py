"""`nextpatch`, or `python -m nextpatch` where the command is not on the path: one command line from start to exit."""

import gc
import os
import sys

from nextpatch.core.interrupt import exit_on_interrupt, interrupted


def command() -> None:
    """Run the command line and leave with its exit code.

    A rank that torchrun started leaves without tearing down the interpreter: threads of gloo may still hold tensors
    then, and would abort the process when they let go of them (PyTorch 2.14), or wait for a peer that is dead.
    """
    try:
        with exit_on_interrupt():  # a Ctrl-C comes in the first moments as well
            import logging
            import traceback

            from nextpatch.cli import main
            from nextpatch.dist.launch import end_with_launcher

        end_with_launcher()  # before torch is loaded, which takes seconds
        code = main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except KeyboardInterrupt:
        code = interrupted()
    except BaseException:
        traceback.print_exc()
        code = 1
    gc.freeze()  # or the last collection of the interpreter walks over all of PyTorch: seconds on a busy machine
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        sys.exit(code)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    command()
