"""What every flow between two frames asks of them."""

from __future__ import annotations

import numpy as np


def check_pair(previous: np.ndarray, current: np.ndarray) -> None:
    """Refuse frames that are not grey, of two sizes, or too thin to have neighbours."""
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
    if min(previous.shape) < 2:
        raise ValueError(
            f"frames must be at least 2 pixels a side, got {previous.shape}; enlarge them"
        )
