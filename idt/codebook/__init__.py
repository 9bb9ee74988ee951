"""Codebooks: rows drawn over many videos, reduced by PCA, described by a diagonal Gaussian mixture.

One row is one descriptor of one trajectory; arrays of rows are ``(n, dimension)``. Sampling, PCA
and mixture stand in the order in which rows pass them; `Codebook` holds one PCA and one mixture
for each descriptor, or for all together, `Vocabulary` the words that k-means finds.
"""

from idt.codebook.book import Codebook
from idt.codebook.kmeans import KMeans
from idt.codebook.mixture import BACKENDS, DiagonalGMM
from idt.codebook.pca import PCA
from idt.codebook.rows import MAX_SAMPLE, RowSampler, check_descriptors, check_rows
from idt.codebook.videos import draw_rows
from idt.codebook.vocabulary import Vocabulary

__all__ = [
    "BACKENDS",
    "MAX_SAMPLE",
    "PCA",
    "Codebook",
    "DiagonalGMM",
    "KMeans",
    "RowSampler",
    "Vocabulary",
    "check_descriptors",
    "check_rows",
    "draw_rows",
]
