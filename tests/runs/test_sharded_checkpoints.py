"""Checkpoints of several ranks: read by any number of them, whole or not at all, whatever fails on whichever rank."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint import metadata
from torch.distributed.checkpoint.metadata import BytesStorageMetadata
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from nextpatch.core import faults
from nextpatch.dist.mesh import open_mesh
from nextpatch.dist.parallelize import full
from nextpatch.dist.ranks import PeerError, Ranks
from nextpatch.runs.checkpoint import (
    POINTS,
    BackgroundSaver,
    CheckpointError,
    checkpoint_at,
    newest_checkpoint,
    prune,
    save_checkpoint,
    shards,
    verify,
)
from nextpatch.runs.checkpoint import save as saving
from nextpatch.runs.checkpoint.files import fingerprint
from ranks import run_ranks

CPU = torch.device("cpu")
MESHES = ((1, 2), (2, 1))


def plain(step):
    """Tensors of all kinds: uneven, smaller than the ranks, of one value; steps differ in every one."""
    generator = torch.Generator().manual_seed(step)
    values = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    return {"model": values, "optimizer": {"step": torch.tensor(float(step)), **{k: v * 2 for k, v in values.items()}}}


SHAPES = {"even": (4, 6), "uneven": (5, 3), "one": (1, 7), "vector": (3,)}


def spread(mesh, step):
    """The same, the matrices and vectors cut over the mesh as FSDP2 cuts them."""
    how = [Replicate()] * (mesh.ndim - 1) + [Shard(0)]
    return {
        group: {name: distribute_tensor(t, mesh, how, src_data_rank=None) if t.ndim else t for name, t in own.items()}
        for group, own in plain(step).items()
    }


def empty_like(tensors):
    return {group: {name: torch.zeros_like(t) for name, t in own.items()} for group, own in tensors.items()}


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(full(ours[n]), full(theirs[n])) for n in theirs)


def there_and_back(out):
    """Saved on each mesh, loaded on each other; and the checkpoint of one process loaded on each."""
    with Ranks.opened() as world:
        meshes = [open_mesh(shape, CPU) for shape in MESHES]
        meshes = [meshes[0]["shard"], meshes[1]]
        save_checkpoint(Path(out) / "alone", 5, plain(5), {"step": 5}, world)
        for number, mesh in enumerate(meshes):
            save_checkpoint(Path(out) / str(number), 4, spread(mesh, 3), {"step": 4}, world)
            save_checkpoint(Path(out) / str(number), 5, spread(mesh, 4), {"step": 5}, world)
            save_checkpoint(Path(out) / str(number), 5, spread(mesh, 5), {"step": 5}, world)  # over itself
        equal = []
        for folder in ("alone", "0", "1"):
            for mesh in meshes:
                found = newest_checkpoint(Path(out) / folder, mend=True, ranks=world)
                wanted, ours = spread(mesh, 5), empty_like(spread(mesh, 5))
                for group in wanted:
                    found.load_into(group, ours[group], world)
                equal.append(found.step == 5 and all(same(ours[g], wanted[g]) for g in wanted))
        refused = []
        for change in ({"even": torch.zeros(4, 5)}, {"more": torch.zeros(1)}):
            try:
                found.load_into("model", {**plain(5)["model"], **change}, world)
            except CheckpointError as error:
                refused.append(str(error))
        prune(Path(out) / "1", 1, 0, world)
        return [equal, refused]


def test_any_mesh_reads_what_any_other_saved_to_the_last_bit(tmp_path):
    for equal, refused in run_ranks(there_and_back, 2, str(tmp_path)):
        assert equal == [True] * 6
        assert "even is not the same on both sides" in refused[0]
        assert "more is not the same on both sides" in refused[1]
    for folder in ("alone", "0", "1"):  # and one process
        found = newest_checkpoint(tmp_path / folder)
        assert found.state == {"step": 5}
        for group, wanted in plain(5).items():
            assert same(found.tensors(group), wanted)
            ours = empty_like(plain(5))[group]
            found.load_into(group, ours)
            assert same(ours, wanted)
    assert [path.name for path in (tmp_path / "1").iterdir()] == ["step_00000005"]
    assert sorted(path.name for path in (tmp_path / "0" / "step_00000005").iterdir()) == [
        ".metadata", "__0_0.distcp", "__1_0.distcp", "manifest.json", "state.json",
    ]  # fmt: skip


def saved_by_two(out):
    with Ranks.opened() as world:
        mesh = open_mesh((1, 2), CPU)["shard"]
        for step in (1, 2):
            save_checkpoint(Path(out), step, spread(mesh, step), {"step": step}, world)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    run_ranks(saved_by_two, 2, str(folder))
    return folder


@pytest.fixture
def copied(two, tmp_path):
    shutil.copytree(two, tmp_path / "c")
    return tmp_path / "c"


def damages(file: Path, other: Path):
    data = file.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    yield "empty", b""
    yield "one byte less", data[:-1]
    yield "half", data[: len(data) // 2]
    yield "one bit", bytes(flipped)
    yield "of another step", other.read_bytes()
    yield "deleted", None


def test_every_damage_of_every_file_is_found_and_the_older_one_is_used(copied, capsys):
    newer, older = copied / "step_00000002", copied / "step_00000001"
    tried = 0
    for file in sorted(newer.iterdir()):
        kept = file.read_bytes()
        for what, data in damages(file, older / file.name):
            if data == kept:
                continue
            tried += 1
            file.unlink() if data is None else file.write_bytes(data)
            found = newest_checkpoint(copied)
            assert found is not None, (file.name, what)
            assert found.step == 1, (file.name, what)
            file.write_bytes(kept)
    assert tried >= 5 * 5
    with capsys.disabled():
        print(f"[{tried} of {tried} damages of a sharded checkpoint found] ", end="")
    (newer / "__2_0.distcp").write_bytes(b"more")
    assert verify(newer) == ["__2_0.distcp is not in the manifest"]
    (newer / "__2_0.distcp").unlink()
    assert newest_checkpoint(copied).step == 2


class Payload:
    """Would write a file when unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return Path(self.canary).write_text, ("run",)


def trusted(checkpoint: Path, name: str) -> None:
    """Make the manifest fit a changed file: integrity alone must not be trusted."""
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest[name] = fingerprint(checkpoint / name)
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp", "__1_0.distcp"])
def test_no_file_can_run_code(copied, tmp_path, name):
    canary = tmp_path / "canary"
    newer = copied / "step_00000002"
    for data in (pickle.dumps(Payload(canary)), torch_saved(Payload(canary), tmp_path)):
        (newer / name).write_bytes(data)
        trusted(newer, name)
        with pytest.raises(Exception, match=r"(?i)trusted|damaged|weights_only|unsupported|failed|error"):
            checkpoint_at(copied, 2).tensors("model")
        assert not canary.exists()


def torch_saved(value, folder):
    torch.save(value, folder / "payload.pt")
    return (folder / "payload.pt").read_bytes()


def test_metadata_is_held_to_tensors_in_its_own_folder(copied):
    newer = copied / "step_00000002"
    kept = (newer / ".metadata").read_bytes()

    def changed(change):
        metadata = pickle.loads(kept)
        change(metadata)
        (newer / ".metadata").write_bytes(pickle.dumps(metadata))
        trusted(newer, ".metadata")
        with pytest.raises(CheckpointError, match="cannot be trusted") as caught:
            checkpoint_at(copied, 2).tensors("model")
        return str(caught.value)

    def elsewhere(place):
        def change(metadata):
            for info in metadata.storage_data.values():
                info.relative_path = place

        return change

    def objects(metadata):
        metadata.state_dict_metadata["model/code"] = BytesStorageMetadata()

    assert "out of its folder" in changed(elsewhere("../step_00000001/__0_0.distcp"))
    assert "out of its folder" in changed(elsewhere("/etc/hostname"))
    assert "model/code is no tensor" in changed(objects)


def faulty(out, cases):
    """Saves that fail at a point on all ranks or one; whether all ranks heard of it, and what is left."""
    heard = []
    with Ranks.opened() as world:
        mesh = open_mesh((1, 2), CPU)["shard"]
        for number, (point, kind, rank) in enumerate(cases):
            folder = Path(out) / str(number)
            for step in (1, 2):
                save_checkpoint(folder, step, spread(mesh, step), {"step": step}, world)
            os.environ[faults.VARIABLE] = f"{kind}:{point}:1:{rank}" if rank != "" else f"{kind}:{point}"
            faults._reached.clear()
            try:
                last = 2 if point == "save.replace" else 3
                save_checkpoint(folder, last, spread(mesh, last), {"step": last}, world)
                prune(folder, 1, 0, world)
                heard.append("nothing")
            except PeerError:
                heard.append("peer")
            except OSError as error:
                heard.append(str(error.errno or "os"))
            finally:
                del os.environ[faults.VARIABLE]
    return heard


CASES = [
    (point, kind, rank)
    for point in POINTS
    for kind in ("enospc", "eio")
    for rank in (0, 1, "")
    if point.startswith(("save", "prune"))
]


def check_faults(tmp_path, cases):
    first, second = run_ranks(faulty, 2, str(tmp_path), cases)
    for number, (case, one, two) in enumerate(zip(cases, first, second, strict=True)):
        assert (one == "nothing") == (two == "nothing"), case  # nobody is left alone
        folder = tmp_path / str(number)
        found = newest_checkpoint(folder)
        assert found is not None, case
        step = found.step
        assert all(same(found.tensors(group), wanted) for group, wanted in plain(step).items()), case
        assert not list(folder.glob("unfinished*")), case
        if one != "nothing" and case[0] not in ("save.renamed", "save.done", "prune.move", "prune.remove"):
            assert step == 2, case
    return [case for case, one in zip(cases, first, strict=True) if one != "nothing"]


def test_a_write_that_fails_on_any_rank_is_heard_by_all_and_publishes_nothing(tmp_path):
    some = [case for case in CASES if case[1] == "enospc" and case[2] in (1, "")]
    failed = check_faults(tmp_path, some)
    assert {point for point, _, rank in failed if rank == 1} >= {"save.tensors", "save.written", "save.agreed"}
    assert {point for point, *_ in failed} == {point for point in POINTS if point != "mend"}


@pytest.mark.slow
def test_every_failing_write_on_every_rank(tmp_path, capsys):
    failed = check_faults(tmp_path, CASES)
    with capsys.disabled():
        print(f"[{len(failed)} failing writes on 2 ranks: the last good one loads {len(failed)} times] ", end="")


def beside(out):
    """Two saves beside the training, the second one failing on rank 1; what `failure` and `wait` say."""
    said = []
    with Ranks.opened() as world:
        mesh = open_mesh((1, 2), CPU)["shard"]
        saver = BackgroundSaver(world)
        tensors = spread(mesh, 1)
        saver.start(Path(out), 1, tensors, {"step": 1}, 2)
        for own in tensors.values():  # the training goes on at once
            for tensor in own.values():
                (tensor.to_local() if isinstance(tensor, DTensor) else tensor).fill_(9.0)
        saver.wait()
        said.append(saver.failure())
        os.environ[faults.VARIABLE] = "enospc:save.tensors:1:1"
        faults._reached.clear()
        saver.start(Path(out), 2, spread(mesh, 2), {"step": 2}, 2)
        try:
            saver.wait()
        except (OSError, PeerError) as error:
            said.append(str(error))
        del os.environ[faults.VARIABLE]
        for step in (3, 4, 5, 6):
            saver.start(Path(out), step, spread(mesh, step), {"step": step}, 2, 3)
        saver.wait()
    return said


def test_saving_beside_the_training_keeps_what_was_there_and_its_failure_reaches_every_rank(tmp_path):
    for first, second in run_ranks(beside, 2, str(tmp_path)):
        assert first is None
        assert "No space left" in second
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step_0000000{n}" for n in (3, 5, 6)]
    for step in (3, 5, 6):
        assert all(same(checkpoint_at(tmp_path, step).tensors(g), wanted) for g, wanted in plain(step).items())


def test_a_run_directory_that_is_not_shared_is_named(tmp_path, monkeypatch):
    world = Ranks()
    monkeypatch.setattr(Path, "is_dir", lambda path: not path.name.startswith("unfinished"))
    with pytest.raises(OSError, match="a file system that all machines share"):
        saving._begin(tmp_path, tmp_path / "unfinished_1", world)


class ByName:
    """A member of an enumeration as Python 3.11.0 to 3.11.3 pickle it, or another attribute in the same way."""

    def __init__(self, owner, name):
        self.told = owner, name

    def __reduce__(self):
        return getattr, self.told


def test_enumerations_of_the_first_python_3_11_are_read_and_nothing_else_by_getattr():
    def read(value):
        return shards._Unpickler(io.BytesIO(pickle.dumps(value))).load()

    kind = metadata._MEM_FORMAT_ENCODING
    assert read(ByName(kind, "TORCH_CHANNELS_LAST")) is kind.TORCH_CHANNELS_LAST
    for owner, name in (
        (kind, "__init__"),
        (Path, "unlink"),
        (Path("x"), "unlink"),
        (kind.TORCH_CHANNELS_LAST, "name"),
    ):
        with pytest.raises(CheckpointError, match="asks for the attribute"):
            read(ByName(owner, name))
