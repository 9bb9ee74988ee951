"""Dense inverse search, from OpenCV.

References
----------
Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016.
"""

from __future__ import annotations

import cv2
import numpy as np

from idt.flow.pair import check_pair

QUALITIES = {
    "quick": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


def dis(
    previous: np.ndarray, current: np.ndarray, *, quality: str = "medium", from_rest: bool = True
) -> np.ndarray:
    """Flow between two grey frames by dense inverse search.

    Parameters
    ----------
    previous, current
        uint8 (row, column), of one size, at least 16 pixels a side.
    quality
        ``"medium"``, ``"fast"``: OpenCV's presets of these names; ``"quick"``: its ULTRAFAST,
        without variational refinement, but down to half the resolution instead of a quarter, so
        that small motions are not lost: on real clips that finds about as many trajectories as
        Farneback's flow, which the smoother preset FAST does not.
    from_rest
        Whether no motion is one of the guesses on every level, beside the flow of the coarser one.

    Returns
    -------
    ndarray of float32, shape (row, column, 2)
        (dx, dy) in pixels per frame.
    """
    check_pair(previous, current)
    if min(previous.shape) < 16:
        raise ValueError(
            f"frames must be at least 16 pixels a side for DIS, got {previous.shape}; "
            "use farneback or enlarge them"
        )
    if quality not in QUALITIES:
        raise ValueError(f"quality must be one of {', '.join(QUALITIES)}, got {quality!r}; choose")
    algorithm = cv2.DISOpticalFlow.create(QUALITIES[quality])
    if quality == "quick":
        algorithm.setFinestScale(1)
    start = np.zeros((*previous.shape, 2), np.float32) if from_rest else None
    flow = algorithm.calc(previous, current, start)  # type: ignore[arg-type]  # None: no guess
    return np.asarray(flow, np.float32)
