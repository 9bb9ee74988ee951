"""The rows of Two-Stream's tables as options, and of table 3 of Feichtenhofer et al. 2016.

Simonyan and Zisserman 2014: table 1a (spatial net), 1b (temporal net), 2 (multi-task learning, on
HMDB51), 3 (two streams), and the slow-fusion baseline. What was trained on what is left to the
recipe: these are the networks, and what their clips are made of.
"""

from __future__ import annotations

from typing import Any

from deep.models._variant import Variant

LAST_LAYER = 7  # stages of CNN-M-2048 before full8
HMDB51 = 51  # classes
_SPATIAL = {"backbone": "cnn-m-2048", "streams": "spatial"}
_TEMPORAL = {"backbone": "cnn-m-2048", "streams": "temporal", "dropout": 0.9}
_BOTH = {"backbone": "cnn-m-2048", "frozen": (LAST_LAYER, 0)}

_STACKS: dict[str, dict[str, Any]] = {
    "single-field": {"stack": 1},
    "stack-5": {"stack": 5},
    "stack-10": {"stack": 10},
    "trajectory-10": {"stack": 10, "stacking": "trajectory"},
    "bi-directional-10": {"stack": 10, "stacking": "bi-directional"},
}

VARIANTS: dict[str, Variant] = {
    # table 1a: all of it learns, from scratch or from ImageNet, or the last layer alone
    **{
        f"spatial-{learning}-dropout-{dropout}": Variant(
            {**_SPATIAL, "dropout": dropout, "frozen": (frozen, 0)}
        )
        for learning, frozen in (("all", 0), ("last-layer", LAST_LAYER))
        for dropout in (0.5, 0.9)
    },
    # table 1b
    **{
        f"temporal-{name}{suffix}": Variant({**_TEMPORAL, **options, "subtract_mean": subtracted})
        for name, options in _STACKS.items()
        for suffix, subtracted in (("", True), ("-no-mean-subtraction", False))
    },
    "slow-fusion": Variant({**_SPATIAL, "backbone": "slow-fusion/cnn-m-2048"}),
    # tables 2 and 3
    "temporal-multi-task": Variant({**_TEMPORAL, "tasks": (HMDB51,)}),
    "two-stream-bi-directional": Variant({**_BOTH, "stacking": "bi-directional"}),
    "two-stream": Variant(_BOTH),
    "two-stream-svm": Variant({**_BOTH, "late": "svm"}, uncounted=("svm",)),
    "two-stream-multi-task": Variant({**_BOTH, "tasks": (HMDB51,)}),
    "two-stream-multi-task-svm": Variant(
        {**_BOTH, "tasks": (HMDB51,), "late": "svm"}, uncounted=("svm",)
    ),
    "two-stream-joint-full6": Variant({**_BOTH, "late": "joint-fc6", "frozen": (0, 0)}),
    "two-stream-joint-full7": Variant({**_BOTH, "late": "joint-fc7", "frozen": (0, 0)}),
    # Feichtenhofer et al. 2016, table 3, which prints no counts
    **{
        f"table3-{name}-{row}": Variant({"backbone": backbone, "streams": streams})
        for name, backbone in (("vgg-m", "cnn-m-2048"), ("vgg-16", "vgg-16"))
        for row, streams in (("spatial", "spatial"), ("temporal", "temporal"), ("late", "both"))
    },
}
