"""Two processes against one: the same start, the same sums, the same weights after 20 steps, whatever the mesh."""

from dataclasses import dataclass

import pytest
import torch

from nextpatch.objective.next_patch import NextPatch
from nextpatch.objective.objective import scored_count
from nextpatch.data.loader import Batch
from nextpatch.model.config import ModelConfig

from nextpatch.dist.agreement import agree
from nextpatch.train.compute import Compute
from nextpatch.runs.config import OptimConfig
from nextpatch.dist import selftest as canary
from nextpatch.dist.config import EngineConfig
from nextpatch.dist.materialize import materialize
from nextpatch.dist.mesh import open_mesh
from nextpatch.dist.parallelize import full
from nextpatch.dist.ranks import ALONE, PeerError, Ranks
from nextpatch.train.optimizer import build_optimizer, prepare_state
from nextpatch.train.step import accumulate_gradients, gradient_norm, update
from nextpatch.train.validation import validation_loss
from ranks import run_ranks

CFG = ModelConfig(
    size="nano", img_size=(12, 16), patch_size=4, in_chans=1, embed_dim=24, depth=3, num_heads=2, head_width=20,
    head_depth=1,
)  # fmt: skip
OBJECTIVE = NextPatch(CFG)
CPU = torch.device("cpu")
OPTIM = OptimConfig(lr=3e-3, clip_norm=0.5)
BATCH, STEPS = 12, 20
MESHES = ((1, 2), (2, 1))


@dataclass(frozen=True)
class Wide(Compute):
    """Pixels in torch's default format, which the float64 runs set."""

    def inputs(self, images):
        return super().inputs(images).to(torch.get_default_dtype())


def batch_at(step, rank=0, ranks=1):
    positions = torch.arange(step * BATCH, (step + 1) * BATCH)
    generator = torch.Generator().manual_seed(step)
    images = torch.randint(0, 256, (BATCH, 1, *CFG.img_size), generator=generator).to(torch.uint8)
    own = positions % ranks == rank
    keys = [str(p) for p in positions[own].tolist()]
    return Batch(images[own], positions[own], torch.full((len(keys),), -1), keys)


PLAIN = EngineConfig()


def train(world, mesh, precision, engine=PLAIN, steps=STEPS):
    """Losses, gradient norms, a validation loss and the weights after 20 steps of 12 images, 4 at a time."""
    compute = Wide(CPU, precision, (0.5,), (0.25,))
    model = materialize(CFG, 7, mesh, engine, precision, CPU)
    start = weights_of(model)
    optimizer = build_optimizer(model, OPTIM)
    prepare_state(optimizer)
    losses, norms = [], []
    for step in range(steps):
        batch = batch_at(step, world.rank, world.size)
        draws = OBJECTIVE.draw(0, batch.positions)
        scored = int(world.sum([scored_count(OBJECTIVE, draws)])[0])
        share = accumulate_gradients(OBJECTIVE, model, batch, draws, scored, 4, compute)
        agreed = agree(world, float(share.total()), float(gradient_norm(model)), None, False, 0)
        update(model, optimizer, agreed.grad_norm, OPTIM.clip_norm)
        optimizer.zero_grad(set_to_none=True)
        losses.append(agreed.loss)
        norms.append(agreed.grad_norm)
    held = [batch_at(100), batch_at(101), batch_at(102)]  # three for two ranks
    result = validation_loss(OBJECTIVE, model, held[world.rank :: world.size], compute, world, rounds=2)
    assert all(type(p).__name__ == ("Parameter" if mesh is None else "DTensor") for p in model.parameters())
    return {"start": start, "losses": losses, "norms": norms, "val": [result.loss, result.images],
            "weights": weights_of(model)}  # fmt: skip


def weights_of(model):
    return {name: full(p.detach()).flatten().tolist() for name, p in model.named_parameters()}


def in_bfloat16():
    """On each rank: what a run gives for each mesh, with bfloat16 products."""
    torch.set_num_threads(1)
    with Ranks.opened() as world:
        found = {f"{shape} bf16": train(world, open_mesh(shape, CPU), "bf16") for shape in MESHES}
        return found if world.is_main else None


def all_of_them():
    """On each rank: what a run gives for each mesh, in float32 and float64."""
    torch.set_num_threads(1)
    with Ranks.opened() as world:
        found = {}
        for shape in MESHES:
            mesh = open_mesh(shape, CPU)
            canary.check_engine(mesh, CPU, world)
            found[f"{shape} fp32"] = train(world, mesh, "fp32")
        sharded = open_mesh((1, 2), CPU)
        plain, *recomputed = (
            train(world, sharded, "fp32", EngineConfig(activation_checkpointing=how), steps=3)
            for how in ("none", "full", "selective")
        )
        assert recomputed == [plain, plain]  # to the last bit: the same operations, done twice
        torch.set_default_dtype(torch.float64)
        for shape in MESHES:
            found[f"{shape} fp64"] = train(world, open_mesh(shape, CPU), "fp32")
        return found if world.is_main else None


@pytest.fixture(scope="module")
def two():
    return run_ranks(all_of_them, 2)[0]


@pytest.fixture(scope="module")
def one():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {"fp32": train(ALONE, None, "fp32")}
    torch.set_default_dtype(torch.float64)
    try:
        found["fp64"] = train(ALONE, None, "fp32")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(threads)
    return found


def by_four():
    """Copies and parts at once: two copies, each on two ranks, in float64."""
    torch.set_num_threads(1)
    with Ranks.opened() as world:
        mesh = open_mesh((2, 2), CPU)
        canary.check_engine(mesh, CPU, world)
        torch.set_default_dtype(torch.float64)
        found = train(world, mesh, "fp32")
        return found if world.is_main else None


def largest_difference(ours, theirs):
    return max(abs(a - b) for name in theirs for a, b in zip(ours[name], theirs[name], strict=True))


@pytest.mark.parametrize("shape", MESHES)
def test_a_model_starts_the_same_on_any_mesh(one, two, shape):
    assert two[f"{shape} fp32"]["start"] == one["fp32"]["start"]


@pytest.mark.parametrize("shape", MESHES)
def test_in_float64_twenty_steps_end_with_the_weights_of_one_process(one, two, shape, capsys):
    ours, theirs = two[f"{shape} fp64"], one["fp64"]
    far = largest_difference(ours["weights"], theirs["weights"])
    assert far < 1e-10
    with capsys.disabled():
        print(f"[{shape}: weights within {far:.1e} in float64] ", end="")
    assert ours["losses"] == pytest.approx(theirs["losses"], rel=1e-12)
    assert ours["norms"] == pytest.approx(theirs["norms"], rel=1e-11)


@pytest.mark.slow
def test_four_ranks_in_copies_and_parts_end_with_the_weights_of_one_process(one, capsys):
    ours = run_ranks(by_four, 4)[0]
    far = largest_difference(ours["weights"], one["fp64"]["weights"])
    assert far < 1e-10
    assert ours["losses"] == pytest.approx(one["fp64"]["losses"], rel=1e-12)
    with capsys.disabled():
        print(f"[(2, 2): weights within {far:.1e} in float64] ", end="")


@pytest.mark.parametrize("shape", MESHES)
def test_in_float32_losses_are_those_of_one_process(one, two, shape, capsys):
    ours, theirs = two[f"{shape} fp32"], one["fp32"]
    assert ours["losses"] == pytest.approx(theirs["losses"], rel=1e-5)
    with capsys.disabled():
        far = max(abs(a / b - 1) for a, b in zip(ours["losses"], theirs["losses"], strict=True))
        print(f"[{shape}: losses within {far:.1e} in float32] ", end="")
    assert ours["norms"] == pytest.approx(theirs["norms"], rel=1e-4)


@pytest.mark.slow
def test_in_bfloat16_losses_stay_within_its_error(one):
    two, theirs = run_ranks(in_bfloat16, 2)[0], train(ALONE, None, "bf16")
    far = largest_difference(theirs["weights"], one["fp32"]["weights"])
    for ours in two.values():
        assert ours["losses"][0] == pytest.approx(theirs["losses"][0], rel=2e-3)
        assert ours["losses"] == pytest.approx(theirs["losses"], rel=2e-2)
        assert largest_difference(ours["weights"], theirs["weights"]) < 2 * far


@pytest.mark.parametrize("shape", MESHES)
def test_validation_counts_every_image_once_when_ranks_have_unequal_shares(one, two, shape):
    for precision in ("fp32", "fp64"):
        loss, images = two[f"{shape} {precision}"]["val"]
        assert images == one[precision]["val"][1] == 3 * BATCH
        assert loss == pytest.approx(one[precision]["val"][0], rel=1e-5)


def talk():
    with Ranks.opened() as world:
        said = {
            "sum": world.sum([world.rank + 1, 0.5]),
            "gather": world.gather({"rank": world.rank, "text": "é" * world.rank}),
            "first": world.broadcast(f"from {world.rank}"),
            "beside": world.side_group().sum([1]),
        }
        for failing in (0, 1):
            try:
                with world.raise_on_all():
                    if world.rank == failing:
                        raise KeyError(f"only {failing}")
            except (PeerError, KeyError) as error:
                said[f"failing {failing}"] = f"{type(error).__name__}: {error}"
        order = []
        with world.main_first():
            order.append(world.rank)
        for failing in (0, 1):
            try:
                with world.main_first():
                    order.append(world.rank)
                    if world.rank == failing:
                        raise OSError("no")
            except (PeerError, OSError) as error:
                order.append(type(error).__name__)
        return [said, order]


def test_ranks_tell_each_other_numbers_values_and_failures():
    (first, first_order), (second, second_order) = run_ranks(talk, 2)
    for said in (first, second):
        assert said["sum"] == [3, 1]
        assert said["gather"] == [{"rank": 0, "text": ""}, {"rank": 1, "text": "é"}]
        assert said["first"] == "from 0"
        assert said["beside"] == [2]
    assert first["failing 0"] == "KeyError: 'only 0'"
    assert second["failing 0"] == "PeerError: rank 0: KeyError: 'only 0'"
    assert first["failing 1"] == "PeerError: rank 1: KeyError: 'only 1'"
    # a follower does not even begin when the leader has failed
    assert first_order == [0, 0, "OSError", 0, "PeerError"]
    assert second_order == [1, "PeerError", 1, "OSError"]


def with_broken_engines():
    """The canary's verdict on engines that average, that add in bfloat16, that hear nothing, and on this one."""
    verdicts = []
    right = torch.distributed.all_reduce

    def broken(tensor, how, *args, **kwargs):
        own = tensor.clone()
        done = right(tensor, *args, **kwargs)
        if tensor.dtype == torch.float32:  # gradients
            tensor.copy_(how(tensor, own))
        return done

    def average(total, own):
        return total / 2

    def rounded(total, own):
        return total.to(torch.bfloat16)

    def deaf(total, own):
        return own

    with Ranks.opened() as world:
        for how in (average, rounded, deaf, lambda total, own: total):
            torch.distributed.all_reduce = lambda tensor, *args, how=how, **kwargs: broken(tensor, how, *args, **kwargs)
            try:
                canary.check_engine(open_mesh((2, 1), CPU), CPU, world)
                verdicts.append("fine")
            except (RuntimeError, PeerError) as error:
                verdicts.append(str(error))
    return verdicts


def test_the_canary_notices_an_engine_that_adds_wrongly():
    for *wrong, right in run_ranks(with_broken_engines, 2):
        assert all("instead of 1.0009765625; use another version" in verdict for verdict in wrong)
        assert len(wrong) == 3
        assert right == "fine"
