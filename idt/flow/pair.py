"""What every flow between two frames asks of them."""

from __future__ import annotations

import numpy as np


def check_pair(previous: np.ndarray, current: np.ndarray) -> None:
    """Refuse frames that are not grey, or of two sizes."""
    for name, image in (("previous", previous), ("current", current)):
        if image.ndim != 2 or image.dtype != np.uint8:
            raise ValueError(
                f"{name} must be a uint8 grey image (row, column), got {image.dtype} "
                f"{image.shape}; convert it with idt.pyramid.to_grey"
            )
    if previous.shape != current.shape:
        raise ValueError(
            f"previous and current must have one size, got {previous.shape} and "
            f"{current.shape}; resize one of them"
        )
