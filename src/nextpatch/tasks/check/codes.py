"""Proofs about targets that are codes of a tokenizer: they are those of the images given, each of its own patch.

A code may depend on the pixels of neighboring patches, so that which code an output is compared with is found by
replacing codes (`observe`). What that leaves open is proved here: where the codes come from.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from nextpatch.objective.objective import Draws
from nextpatch.tasks.check.observe import listed, other_pixels
from nextpatch.tasks.check.subject import Codes, Subject
from nextpatch.tasks.check.told import Verdict, some

_TOLERANCE = 1e-6  # relative, of two losses of the same codes
_MORE = 1.5  # times as many codes follow another patch than their own: no chance, another place


def prove_codes(subject: Subject, codes: Codes) -> list[Verdict]:
    """Both proofs."""
    return [
        Verdict("the codes in the loss are those of the images given", _of_the_images(subject, codes)),
        Verdict(
            "the code of a patch depends on that patch" + (" alone" if codes.local else " more than on others"),
            _of_the_patch(subject, codes),
        ),
    ]


def _of_the_images(subject: Subject, codes: Codes) -> str:
    """The loss changes with the images as it does with their codes, whatever is predicted."""
    grids = codes.encode(subject.images)
    if torch.equal(grids, grids[:1].expand_as(grids)):
        return f"all {len(grids)} example images have the same codes: give images that differ, or another tokenizer"
    tried = [_by_image(subject, codes, grids, subject.draws.part(i, i + 1)) for i in range(subject.draws.batch_size)]
    for i, (losses, wanted) in enumerate(tried):
        for image, (found, right) in enumerate(zip(losses, wanted, strict=True)):
            if not _same(found, right):
                told = subject.claims.told(subject.draws.part(i, i + 1))[0]
                return f"with {told}, image {image} has the loss {found:.6g}, and {right:.6g} with its own codes: " + (
                    "it is the same for other images too, so the codes are kept from elsewhere"
                    if all(_same(loss, losses[0]) for losses, _ in tried for loss in losses)
                    else "the codes are those of another view (crop, flip or scale) than the one that the model sees"
                )
    return ""


def _by_image(subject: Subject, codes: Codes, grids: Tensor, draws: Draws) -> tuple[list[float], list[float]]:
    """(the loss with each image, the loss with its codes), all of the same predictions."""
    with torch.no_grad():
        predictions = subject.predict(subject.images[:1], draws)
        losses = [float(subject.loss(predictions, image[None], draws)) for image in subject.images]
        return losses, [float(codes.loss(predictions, grid[None], draws)) for grid in grids]


def _same(found: float, right: float) -> bool:
    return abs(found - right) <= _TOLERANCE * abs(right)


def _of_the_patch(subject: Subject, codes: Codes) -> str:
    followed = _followed(subject, codes)
    own = followed.diagonal()
    if not own.any():
        return "no code depends on its own patch" + (
            f"; that of patch {int(followed.any(0).int().argmax())} depends on others" if followed.any() else ""
        )
    if codes.local:
        strangers = followed.masked_fill(torch.eye(len(own), dtype=torch.bool), 0)
        code = int(strangers.any(dim=0).int().argmax())
        more = listed(strangers[:, code] > 0)
        return f"the code of patch {code} depends on {some(more)} too, although the tokenizer is local" if more else ""
    rows, columns = (side // subject.patch_size for side in subject.images.shape[2:])
    for how, places in _misread(rows, columns).items():
        if int(followed[places, torch.arange(len(own))].sum()) > _MORE * int(own.sum()):
            return f"the codes follow patches that are elsewhere: {how}"
    return ""


def _followed(subject: Subject, codes: Codes) -> Int[Tensor, "patches codes"]:
    """How often the code at a place changed when a patch was that of another image."""
    before = codes.encode(subject.images[:1])[0]
    found = torch.zeros(subject.num_patches, subject.num_patches, dtype=torch.int64)
    for patch, image in other_pixels(subject):
        found[patch] += codes.encode(image)[0] != before
    return found


def _misread(rows: int, columns: int) -> dict[str, Int[Tensor, " patches"]]:
    """Ways to read a grid wrongly: at entry i the patch that is taken for patch i."""
    grid = torch.arange(rows * columns).reshape(rows, columns)
    return {
        "columns are read as rows": grid.T.flatten(),
        "the grid is mirrored left to right": grid.flip(1).flatten(),
        "the grid is upside down": grid.flip(0).flatten(),
        "the grid is turned by half": grid.flip(0, 1).flatten(),
        "they are one patch late": grid.flatten().roll(1),
        "they are one patch early": grid.flatten().roll(-1),
        "they are one row late": grid.roll(1, 0).flatten(),
        "they are one row early": grid.roll(-1, 0).flatten(),
    }
