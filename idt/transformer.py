"""What all encodings of videos are to scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from idt.codebook.videos import Video


class VideoEncoder(Protocol):
    """What encodes one video."""

    @property
    def n_features(self) -> int:
        """Length of the vector."""

    def encode(self, video: Video) -> np.ndarray:
        """Encode a video in memory, float32 (n_features,)."""

    def feature_names(self) -> np.ndarray:
        """Name every number, object (n_features,)."""


class VideoTransformer(TransformerMixin, BaseEstimator):
    """The half of a transformer that follows from its encoder; `fit` is its own.

    Attributes
    ----------
    encoder_ : VideoEncoder
    """

    encoder_: VideoEncoder

    def transform(self, X: Sequence[Video]) -> np.ndarray:
        """Encode videos.

        Parameters
        ----------
        X
            Videos.

        Returns
        -------
        ndarray of float32, (n_videos, n_features)

        Raises
        ------
        ValueError
            X is no list of videos, or as in the encoder's `encode`.

        Warns
        -----
        FewTrajectoriesWarning
            A video has no trajectory, or a single one.
        """
        check_is_fitted(self)
        videos = check_videos(X)
        vectors = np.empty((len(videos), self.encoder_.n_features), dtype=np.float32)
        for vector, video in zip(vectors, videos, strict=True):
            vector[:] = self.encoder_.encode(video)
        return vectors

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Name every number, see the encoder's `feature_names`; the argument is not used."""
        check_is_fitted(self)
        return self.encoder_.feature_names()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def check_videos(X: Iterable[Video]) -> list[Video]:
    """Videos in memory as a list; what is none is refused."""
    videos = [] if isinstance(X, Video) else list(X)
    strangers = [type(video).__name__ for video in videos if not isinstance(video, Video)]
    if not videos or strangers:
        got = f"{strangers[0]} in it" if strangers else f"none in {type(X).__name__}"
        raise ValueError(
            "X must be a list of one video or more, each a table of trajectories or arrays by "
            f"name, got {got}; put every video in a list"
        )
    return videos
