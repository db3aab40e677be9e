"""Every promise, its bar, and how it is tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from figure import Figure, tested
from listening import sockets
from outputs import launcher_killed, thin_images, two_at_once
from tries import exactly_once, kills, other_numbers, preemption, restarts, same_bits


@dataclass(frozen=True)
class Promise:
    """What is promised, from when on it is kept, and how it is tried."""

    text: str
    bar: str
    measure: Callable[[], Figure]


CHECKPOINTS, SHARDED = "tests/runs/test_checkpoint.py", "tests/runs/test_sharded_checkpoints.py"
FAILING = f"{SHARDED}::test_every_failing_write_on_every_rank"
ROWS: tuple[tuple[str, str, Callable[[], Figure]], ...] = (
    ("Killed anywhere, a run loses nothing but time: resumed, it ends with the same bits.", "200 of 200", kills),
    ("Every sample exactly once an epoch, through any kills.", "0 lost, 0 repeated", exactly_once),
    ("A run goes on with another number of ranks and sees the same global batches.", "9 of 9 pairs", other_numbers),
    ("A damaged checkpoint is never loaded; the last good one is.", "all damage found",
     tested(CHECKPOINTS, SHARDED, "-k", "damage or copied or nothing_that")),
    ("A full or broken disk never costs the last good checkpoint.", "every failing write",
     tested("tests/runs/test_disk_faults.py", FAILING)),
    ("A failed save beside the training reaches all ranks.", "no rank left alone", tested(SHARDED, "-k", "beside")),
    ("A damaged shard never loses data silently.", "all damage found", tested("tests/data/tar/test_damage.py")),
    ("Any image gives the right pixels or is skipped and counted.", "at least 60 kinds",
     tested("tests/data/test_corpus.py", "tests/data/test_hostile_headers.py")),
    ("Bad data is passed over, up to a budget.", "stops above 1 %", tested("tests/data/test_skipped.py")),
    ("A dead or stuck data worker is replaced, the stream stays the same.", "0 hangs of 50",
     tested("tests/data/test_workers.py")),
    ("No number of shards, workers and ranks hangs.", "0 hangs", tested("tests/data/test_ledger.py", "-k", "hang")),
    ("A dead rank: torchrun starts the run again, and it ends the same.", "N of N", restarts),
    ("SIGTERM or SIGUSR1 to any rank saves and leaves.", "0 steps lost, p95 under 30 s", preemption),
    ("Nothing leaks.", "no slope", tested("tests/data/test_leak.py")),
    ("NaN and spikes: all ranks decide alike, no bad update, also when resumed.", "all",
     tested("tests/train/test_guard.py", "tests/train/test_loop.py", "tests/tasks/pretrain/test_ranks.py", "-k",
            "guard or finite or skip or spike or number")),
    ("FSDP2 and HSDP on two ranks equal one process after 20 steps.", "1e-10 in float64, 1e-5 in float32",
     tested("tests/dist/test_ranks.py")),
    ("Evaluation counts every image once on any number of ranks.", "identical",
     tested("tests/train/test_heldout_ranks.py")),
    ("Same seed, same bits.", "all equal", same_bits),
    ("No code runs from files.", "0 payloads",
     tested(SHARDED, CHECKPOINTS, "tests/data", "-k", "run_code or trusted or pickle or held_to")),
    ("Hostile tars and image bombs stay contained.", "0 files outside",
     tested("tests/data/tar/test_reader.py", "tests/data/test_corpus.py::test_bombs_take_no_memory")),
    ("No dangerous calls in the code.", "0", tested("tests/test_dangerous_calls.py")),
    ("Nothing listens beyond loopback.", "0", sockets),
    ("Readers survive any bytes.", "0 crashes", tested("tests/data", "-k", "fuzz")),
    ("A rank of 1,024 holds what the plan says.", "within 5 %",
     tested("tests/train/test_memory.py", "-k", "simulated")),
    ("A billion samples: any place is found at once.", "50 ms, 200 MB", tested("tests/data/test_order.py")),
    ("Two processes never write to one output, whatever the verb; the second is told which one has it.", "every verb",
     two_at_once),
    ("Ranks end with their launcher, however that ends.", "within 15 s", launcher_killed),
    ("Inputs that changed under a cache, a half-done output or a resume are noticed; moved ones are the same.", "all",
     tested("tests/data/test_fingerprint.py", "tests/tasks/finetune/test_finetune.py",
            "tests/tasks/pretrain/test_run.py", "tests/tasks/probe/test_cache.py", "tests/tasks/curate/test_pack.py",
            "tests/tasks/embed/test_columns.py", "-k",
            "other_images or changed or moved or same_images or same_names")),
    ("A name of weights that stands in a file never chooses a program or a server.", "0 calls",
     tested("tests/weights/test_names.py")),
    ("An image of any shape costs no more memory than its pixels and the output.", "64 MiB",
     thin_images),
    ("A full disk ends every verb with an error in words, and no file is cut off under its name.", "every verb",
     tested("tests/cli/test_full_disk.py", "tests/tasks/embed/test_columns.py", "-k", "disk or file_system")),
    ("Too little /dev/shm, too few open files or too small files: an error or a way round, never a hang.", "0 hangs",
     tested("tests/data/test_workers.py", "-k", "shared or sent or limits")),
    ("Any bit of any file of ours flipped: one line that names it, or right figures.", "0 tracebacks",
     tested("tests/cli/test_damage.py", "tests/weights/test_damage.py", "tests/core/test_reading.py",
            "tests/tasks/embed/test_columns.py", "-k", "flip or damage or bytes or verb or line or bit")),
    ("No value of any configuration does harm: it holds, or it is named before anything is made.", "0 other errors",
     tested("tests/core/test_configs.py", "tests/tasks/pretrain/test_memory.py")),
)  # fmt: skip
PROMISES = {f"P{number}": Promise(*row) for number, row in enumerate(ROWS, 1)}
