"""Recognisers of the handcrafted family, behind fit and scores, by the names that runs call them.

`dt` are dense trajectories, without stabilisation and L2 normalised (Wang et al. 2013), `idt`
improved ones (Wang & Schmid 2013); `bof` are bags of features with a χ² kernel, `fv` Fisher vectors
with a linear one. All of them take the same options, so ``descriptors="mbhx/mbhy"`` is a variant of
each. `idt-fv-plus` is the strongest recipe without a network: several frame skips (Lan et al.,
CVPR 2015), mirror images (Hoai & Zisserman, ACCV 2014) and places appended to the descriptors (as
Sánchez, Perronnin & de Campos, Pattern Recognition Letters 2012, do it for images), taken over from
there. Rank pooling and grids, which gained less in cross-validation on training clips, are left to
be asked for; while this was settled, test figures of three folds of UT-Interaction and of Tennis7
had been seen. `flow-hist` is a yardstick.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from idt.recogniser.bags import BagRecogniser
from idt.recogniser.fisher_vectors import FisherVectorRecogniser
from idt.recogniser.flow_histogram import FlowHistogramRecogniser
from idt.recogniser.labels import check_labels

RECOGNISERS: dict[str, Callable[..., Any]] = {
    "dt-bof": partial(BagRecogniser, stabilise="none", normalise="l2"),
    "dt-fv": partial(FisherVectorRecogniser, stabilise="none", normalise="l2"),
    "idt-bof": BagRecogniser,
    "idt-fv": FisherVectorRecogniser,
    "idt-fv-plus": partial(FisherVectorRecogniser, frame_steps=(1, 2, 3), mirror=True, places=True),
    "flow-hist": FlowHistogramRecogniser,
}

__all__ = [
    "RECOGNISERS",
    "BagRecogniser",
    "FisherVectorRecogniser",
    "FlowHistogramRecogniser",
    "check_labels",
]
