"""Are two methods' accuracies different? Tests by group, and methods set side by side.

Two methods are tested on the same videos, so everything here looks at paired outcomes; several
splits are looked at jointly, a video that three splits test being one source of evidence.

**By group** (`sign_flip`). If two methods were alike, each group's difference would as soon have
the other sign. The p-value is the share of all patterns of signs under which the difference in
accuracy is at least as large as the one that was found: exact where groups' differences are
multiples of one step (one split, or splits of one size) or where few groups differ, else from drawn
patterns. Where several seeds of a method are given, its p-value comes from the t statistic of
`compare.intervals.difference_interval` instead, whose variance holds that of the seeds.

**By video.** The same test with each video as its own group: on one split that is the exact McNemar
test (`mcnemar`). It is a second opinion only, as clips of one source are not independent.

**Many comparisons.** `compare` adjusts the p-values of all its pairs by Holm's method.

**Above chance.** `above_chance` permutes labels inside groups: what footage alone gives away counts
as chance.

**Gains.** `gains` sets what fusing a method with another family brought beside the control: the
same method fused, in the same way, with a second seed or network of its own kind.

References
----------
Fisher, "The design of experiments", 1935, section 21 (sign-flip test).
McNemar, "Note on the sampling error of the difference between correlated proportions or
percentages", Psychometrika 1947.
Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics
1979.
Phipson & Smyth, "Permutation p-values should never be zero", 2010 (drawn patterns).
"""

from __future__ import annotations

from compare.significance.chance import Chance, above_chance
from compare.significance.comparison import (
    Comparison,
    Gain,
    Outcomes,
    Standing,
    compare,
    gains,
    outcomes,
    standing,
)
from compare.significance.paired import Test, holm, mcnemar, sign_flip

__all__ = [
    "Chance",
    "Comparison",
    "Gain",
    "Outcomes",
    "Standing",
    "Test",
    "above_chance",
    "compare",
    "gains",
    "holm",
    "mcnemar",
    "outcomes",
    "sign_flip",
    "standing",
]
