"""FstCN's settings and ablations as options; the paper prints no numbers of parameters."""

from __future__ import annotations

from typing import Any

from deep.models._variant import Variant

_PAPER: dict[str, Any] = {"backbone": "scl", "segments": 16}
_ROWS: dict[str, dict[str, Any]] = {
    "sci-fusion": {},
    "sci-fusion-over-clips": {"weigh": "clips"},
    "average-fusion": {"weigh": "none"},
    "tcl-3x3": {"kernels": "3"},
    "tcl-5x5": {"kernels": "5"},
    "spatial-path": {"paths": "spatial"},
    "temporal-path": {"paths": "temporal"},
    "places-in-the-batch": {"places": "batch"},
    "padded": {"padding": "same"},
    "auxiliary-loss": {"auxiliary": True},
    "stage-1": {"stage": 1},
    "stage-2": {"stage": 2},
}
# the auxiliary classifier is a help in training, not part of the network
VARIANTS: dict[str, Variant] = {
    name: Variant({**_PAPER, **options}, uncounted=("auxiliary",))
    for name, options in _ROWS.items()
}
