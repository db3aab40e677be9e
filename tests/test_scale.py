"""Every command of the page on scale, on small data and over gloo; and the job files, with a stand-in for Slurm."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from archives import archive
from corpus import gradient, saved
from nextpatch.runs.given import recipe_path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def commands():
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    lines = "\n".join(re.findall(r"```bash\n(.*?)```", page, re.S)).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("scale")
    (place / "photos").mkdir()
    (place / "shards").mkdir()
    photos = [saved(np.roll(gradient(40, 56), 3 * n, 1), "JPEG", quality=90) for n in range(24)]
    for number, photo in enumerate(photos):
        (place / "photos" / f"{number}.jpg").write_bytes(photo)
    for shard in range(2):
        files = [(f"{n:05d}.jpg", photos[n]) for n in range(12 * shard, 12 * shard + 12)]
        (place / "shards" / f"{shard:05d}.tar").write_bytes(archive(files))
    return place


def environment(**more):
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1", **more}


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


def test_every_command_of_the_page(place):
    """In order; where the page says GPUs there is one rank on the CPU, and the machines of a cluster are this one."""
    for words in commands():
        words = ["1" if word == "gpu" else word for word in words]
        words = [word.replace("HOST:29500", f"localhost:{PORT}") for word in words]
        machines = int(words[words.index("--nnodes") + 1]) if "--nnodes" in words else 1
        started = [
            subprocess.Popen(words, cwd=place, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for _ in range(machines)
        ]
        for process in started:
            said = process.communicate(timeout=300)[0].decode()
            assert process.returncode == 0, (words, said[-4000:])
    env = json.loads((place / "runs" / "cluster" / "env.json").read_text())["sessions"][-1]
    assert env["ranks"] == 2
    assert sorted(path.name for path in (place / "runs").iterdir()) == ["cluster", "photos", "two"]


PORT = free_port()


@pytest.fixture
def scheduler(tmp_path):
    """Programs with the names of Slurm's: srun runs what it is given here, scontrol writes down what it was asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "srun").write_text('#!/bin/sh\nexec "$@"\n')
    (folder / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho localhost\n')
    for program in folder.iterdir():
        program.chmod(0o755)
    return environment(
        PATH=f"{folder}:{BIN}:{os.environ['PATH']}", SLURM_JOB_NODELIST="localhost", SLURM_NNODES="1",
        SLURM_JOB_ID="7", RANKS_PER_NODE="2", PORT=free_port(),
    )  # fmt: skip


def test_the_slurm_job_saves_before_its_time_is_up_queues_itself_again_and_goes_on(place, scheduler, tmp_path):
    job = [
        str(ROOT / "runs" / "slurm.sbatch"), str(tmp_path / "run"), "--data", str(place / "photos"), "--model", "nano",
        "--train.steps", "40", "--train.val_every", "40", "--train.checkpoint_every", "4",
    ]  # fmt: skip
    with subprocess.Popen(job, env=scheduler, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        until = time.monotonic() + 120
        while not list(tmp_path.glob("run/checkpoints/step_*")):
            assert time.monotonic() < until
            assert process.poll() is None, process.stdout.read().decode()
            time.sleep(0.1)
        process.send_signal(signal.SIGUSR1)
        said = process.communicate(timeout=120)[0].decode()
    assert process.returncode != 0, said
    assert "saved before the end of the time; queued again" in said
    assert "requeue 7" in (tmp_path / "asked").read_text()
    stopped_at = int(re.search(r"SIGTERM: stopped after step (\d+) of 40 and saved", said)[1])
    assert (tmp_path / "run" / "checkpoints" / f"step_{stopped_at:08d}").is_dir()

    again = subprocess.run(job, env=scheduler, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stdout[-2000:] + again.stderr[-4000:]
    assert (tmp_path / "run" / "checkpoints" / "step_00000040").is_dir()


def test_the_kubernetes_job_starts_what_the_page_says():
    text = (ROOT / "runs" / "kubernetes.yaml").read_text(encoding="utf-8")
    args = re.findall(r"^ {12}- (\S+)$", text, re.M)
    assert args[:6] == [
        "--nnodes=4", "--nproc-per-node=gpu", "--max-restarts=3", "--rdzv-backend=c10d",
        "--rdzv-endpoint=nextpatch-0.nextpatch:29500", "--rdzv-id=nextpatch",
    ]  # fmt: skip
    assert recipe_path(args[args.index("pretrain") + 1]).is_file()
    assert args[-1] == "--resume"
