"""Codebooks: rows drawn over many videos, reduced by PCA, described by a diagonal Gaussian mixture.

One row is one descriptor of one trajectory; arrays of rows are ``(n, dimension)``. Sampling, PCA
and mixture stand in the order in which rows pass them; `Codebook` holds one PCA and one mixture
for each descriptor, `Vocabulary` one k-means.
"""

from idt.codebook.book import Codebook
from idt.codebook.kmeans import KMeans
from idt.codebook.mixture import DiagonalGMM
from idt.codebook.pca import PCA
from idt.codebook.rows import MAX_SAMPLE, RowSampler, check_rows
from idt.codebook.vocabulary import Vocabulary

__all__ = [
    "MAX_SAMPLE",
    "PCA",
    "Codebook",
    "DiagonalGMM",
    "KMeans",
    "RowSampler",
    "Vocabulary",
    "check_rows",
]
