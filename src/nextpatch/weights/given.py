"""Images as a person has them as the 8-bit views that a model sees, and batches of them checked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nextpatch.data.decode import BadImage, decode
from nextpatch.data.encoding import Given, check_range, encoded, name_of
from nextpatch.data.error import DataError
from nextpatch.data.preprocessing import AS_OURS, Preprocessing


def pixels_of(image: Given, channels: int, preprocessing: Preprocessing = AS_OURS) -> Tensor:
    """Its pixels, uint8 "channels height width", exactly as every verb decodes a file with them; DataError if none."""
    try:
        return decode(encoded(image), channels, preprocessing)
    except BadImage as error:
        raise DataError(f"{name_of(image)} cannot be used: {error}") from None
    except DataError:
        raise
    except IsADirectoryError:
        raise DataError(f"{name_of(image)} is a folder; give a list of the images in it") from None
    except OSError as error:
        raise DataError(f"{name_of(image)} cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:  # closed, sparse, without values ...
        raise DataError(f"{name_of(image)} cannot be read: {error}") from None


def check_batch(images: Given, channels: int, size: tuple[int, int]) -> None:
    """DataError unless these are images of this model: "batch channels height width", uint8 or floats in [0, 1]."""
    if not isinstance(images, Tensor):
        raise DataError(f"a batch must be a tensor, not {type(images).__name__}; make one: model.transform(images)")
    wanted = (channels, *size)
    if images.ndim != 4 or tuple(images.shape[1:]) != wanted:
        one = "; a single image needs a batch axis: images[None]" if tuple(images.shape) == wanted else ""
        raise DataError(
            f"images of shape {tuple(images.shape)} are not a batch of {channels} channels and {size[0]} x {size[1]} "
            f"pixels{one or '; make one: model.transform(images)'}"
        )
    if images.is_floating_point():
        if len(images):
            low, high = (float(bound) for bound in images.aminmax())
            check_range(low, high)
    elif images.dtype != torch.uint8:
        raise DataError(f"pixels of type {images.dtype} have no known range; give uint8 or floats in [0, 1]")


def stacked_views(views: Sequence[Tensor]) -> Tensor:
    """Views of one size as a batch; DataError when there is none."""
    if not views:
        raise DataError("no images given; give at least one")
    if len({view.shape for view in views}) > 1:
        raise DataError("a list holds lists of images of several lengths; give one list of all images")
    return torch.stack(list(views))
