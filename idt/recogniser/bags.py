"""Bags of features of trajectories, and a support vector machine on the RBF-χ² kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from idt.bow import bag_encoder
from idt.codebook import Vocabulary
from idt.codebook.vocabulary import WORD_SAMPLE
from idt.recogniser.pipeline import TrajectoryRecogniser, listed
from idt.svm import ChiSquareSVM
from idt.words import WordEncoder


@dataclass(kw_only=True, eq=False)
class BagRecogniser(TrajectoryRecogniser):
    """Trajectories, bags of features and a multi-channel RBF-χ² support vector machine.

    Each descriptor in each cell of the grids is a channel of the kernel.

    Parameters
    ----------
    n_words
        Words of every descriptor.
    n_init
        Starts of k-means, of which the best is kept.
    n_samples
        Trajectories, over all training videos, that the words are found on.
    C, grids, descriptors, preset, options, stabilise, normalise, frame_steps, mirror, places
        As in `idt.recogniser.FisherVectorRecogniser`.
    seed, workers, verbose, cache
        As in `idt.recogniser.FisherVectorRecogniser`.

    Attributes
    ----------
    vocabulary_ : Vocabulary
    encoder_ : idt.words.WordEncoder
    svm_ : ChiSquareSVM

    References
    ----------
    Wang, Kläser, Schmid and Liu, Dense trajectories and motion boundary descriptors for action
    recognition, IJCV 2013, section 5.1: 4,000 words of 100,000 trajectories, the best of 8 starts,
    C = 100.
    """

    n_words: int = 4000
    n_init: int = 8
    n_samples: int = WORD_SAMPLE

    @property
    def vocabulary_(self) -> Vocabulary:
        """The words, once fitted."""
        return self._book

    def settings(self) -> dict[str, Any]:
        """What decides the scores."""
        told = "bags of features, RBF-χ² SVM, mean of channels"
        return {"recogniser": told, **super().settings()}

    def new_book(self) -> Vocabulary:
        """Make a vocabulary that is not fitted yet."""
        return Vocabulary(self.n_words, n_init=self.n_init, seed=self.seed)

    def encoder(self, book: Vocabulary) -> WordEncoder:
        """Make what encodes by fitted words."""
        return bag_encoder(book, grids=listed(self.grids))

    def new_machine(self, encoder: WordEncoder) -> ChiSquareSVM:
        """Make a machine that is not trained yet, with the channels of an encoder."""
        return ChiSquareSVM(C=self.C, channels=list(encoder.channels.values()))
