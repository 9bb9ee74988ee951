"""Stacked Fisher vectors: Fisher vectors of Fisher vectors of sub-volumes.

First layer: each sub-volume of a video has an improved Fisher vector of the trajectories in it.
These are projected to few dimensions, and are the rows of the second layer: the video has an
improved Fisher vector of them, for each descriptor. The plain Fisher vector of the video stands
before it; its sums are those of the first layer.

What is published fixes the sizes of the sub-volumes, that those of few trajectories are left out,
whitening, and a supervised projection for a margin; 256 Gaussians and 200 dimensions are told by
others. Ours are the distances between sub-volumes (`idt.stacked.volumes`), the least number of
trajectories, and how the projection is found (`idt.stacked.projection`), which PCA may stand in
for.

References
----------
Peng, Zou, Qiao and Peng, Action recognition with stacked Fisher vectors, ECCV 2014.
"""

from idt.stacked.codebook import StackedCodebook
from idt.stacked.encoder import StackedAccumulator, StackedEncoder
from idt.stacked.transformer import StackedFisherVectors

__all__ = ["StackedAccumulator", "StackedCodebook", "StackedEncoder", "StackedFisherVectors"]
