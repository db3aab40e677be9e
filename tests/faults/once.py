"""The command line with a fault that happens in the first attempt only, as a dying machine does."""

import os

if os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0" and "NEXTPATCH_FAULT_ONCE" in os.environ:
    os.environ["NEXTPATCH_FAULT"] = os.environ["NEXTPATCH_FAULT_ONCE"]

from nextpatch.__main__ import command

if __name__ == "__main__":
    command()
