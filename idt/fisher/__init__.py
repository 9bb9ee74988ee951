"""Fisher vectors: of rows, of whole videos by descriptor and cell, and as a transformer."""

from idt.fisher.encoder import FisherVectorEncoder, VideoAccumulator
from idt.fisher.transformer import FisherVectors
from idt.fisher.vector import FewTrajectoriesWarning, FisherAccumulator, fisher_vector

__all__ = [
    "FewTrajectoriesWarning",
    "FisherAccumulator",
    "FisherVectorEncoder",
    "FisherVectors",
    "VideoAccumulator",
    "fisher_vector",
]
