"""Which frames and flow fields of a video make one input of a network.

A clip has T chunks centred on the frames ``t, t + tau, ..., t + (T - 1) tau`` (Feichtenhofer et
al. 2016, section 3.4): a chunk is one RGB frame and the L flow fields around it, with the offsets
``-L/2 ... L/2 - 1`` (field k leads from frame k to frame k + 1, so the stack is centred on its
frame). A two-stream network (Simonyan and Zisserman 2014) has T = 1.

The L fields can also be stacked along the paths of points (``trajectory``, see
`deep.flow.follow`), or run both ways from the chunk's frame tau (``bi-directional``): the L/2
fields forward from tau, then the L/2 fields backward from tau, each half going away from it
(Simonyan and Zisserman 2014, section 3.1, who leave the order of the backward half open).

A video too short for its clip is still read: first ``tau`` is lowered to what fits, at least 1,
then every index is clamped into the video, which repeats the first or last frame and field.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STACKINGS = ("plain", "trajectory", "bi-directional")


@dataclass(frozen=True)
class Clip:
    """Indices into one video.

    Attributes
    ----------
    frames : ndarray of int64, shape (segment, frame)
        RGB frames of each chunk.
    fields : ndarray of int64, shape (segment, time)
        Flow fields of each chunk's stack, in order of time.
    backward : ndarray of int64, shape (segment, time)
        Fields whose flow backward, from frame k + 1 to k, follows behind them; often none.
    along_paths
        Whether the fields are stacked along the paths of points.
    """

    frames: np.ndarray
    fields: np.ndarray
    backward: np.ndarray
    along_paths: bool = False


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """The form of a network's clips.

    Parameters
    ----------
    segments
        Number T of chunks, at least 1.
    strides
        Least and greatest distance tau between two chunks' frames. Training draws one of them per
        clip, testing takes the middle one, rounded down.
    stack
        Number L of flow fields per chunk; 0 for a network that sees no flow.
    stacking
        One of `STACKINGS`.
    frames
        RGB frames of a chunk, counted from the one it is centred on.
    """

    segments: int = 1
    strides: tuple[int, int] = (1, 1)
    stack: int = 10
    stacking: str = "plain"
    frames: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if self.segments < 1:
            raise ValueError(f"segments must be at least 1, got {self.segments}; use 1 frame")
        if not 1 <= self.strides[0] <= self.strides[1]:
            raise ValueError(
                f"strides must be 1 <= least <= greatest, got {self.strides}; give frames"
            )
        if self.stacking not in STACKINGS:
            raise ValueError(
                f"stacking must be one of {', '.join(STACKINGS)}, got {self.stacking!r}; choose one"
            )
        if self.stack < 0 or (self.stacking == "bi-directional" and self.stack % 2):
            raise ValueError(
                f"stack must be at least 0, and even for a bi-directional stack, got {self.stack}; "
                "the papers use 10"
            )
        if not self.frames:
            raise ValueError(f"frames must be one or more, got {self.frames}; (0,) is the usual")

    @property
    def least_frames(self) -> int:
        """Frames that a video must have for one chunk without repeating any."""
        return max(self.stack + 1, max(self.frames) - min(self.frames) + 1)

    def at(self, start: int, stride: int, *, n_frames: int) -> Clip:
        """Make the clip whose first chunk is centred on frame `start`.

        Parameters
        ----------
        start
            Frame t of the first chunk; may lie outside the video.
        stride
            Frames tau between two chunks.
        n_frames
            Length of the video. One frame counts as having one field (of zeros).
        """
        if n_frames < 1:
            raise ValueError(f"n_frames must be at least 1, got {n_frames}; check the video")
        centres = start + stride * np.arange(self.segments)[:, None]
        half = self.stack // 2
        forward, backward = np.arange(-half, self.stack - half), np.arange(0)
        if self.stacking == "bi-directional":
            forward, backward = np.arange(half), -1 - np.arange(half)
        last_field = max(n_frames - 2, 0)
        return Clip(
            frames=np.clip(centres + np.array(self.frames), 0, n_frames - 1),
            fields=np.clip(centres + forward, 0, last_field),
            backward=np.clip(centres + backward, 0, last_field),
            along_paths=self.stacking == "trajectory",
        )

    def random(self, n_frames: int, rng: np.random.Generator) -> Clip:
        """Draw a clip for training: tau and t uniform over what lies inside the video."""
        stride = self._fitting(int(rng.integers(self.strides[0], self.strides[1] + 1)), n_frames)
        first, last = self._starts(stride, n_frames)
        return self.at(int(rng.integers(first, last + 1)), stride, n_frames=n_frames)

    def spaced(self, n_frames: int, n_clips: int) -> list[Clip]:
        """Make clips for testing: `n_clips` starts equally spaced from first to last possible.

        One clip is taken from the middle. Short videos repeat clips rather than give fewer.
        """
        if n_clips < 1:
            raise ValueError(f"n_clips must be at least 1, got {n_clips}; the paper uses 25")
        stride = self._fitting(sum(self.strides) // 2, n_frames)
        first, last = self._starts(stride, n_frames)
        if n_clips == 1:
            starts = np.array([(first + last) // 2])
        else:
            starts = np.rint(np.linspace(first, last, n_clips)).astype(np.int64)
        return [self.at(int(start), stride, n_frames=n_frames) for start in starts]

    def _fitting(self, stride: int, n_frames: int) -> int:
        """Lower tau to what leaves the whole clip inside the video, at least 1."""
        if self.segments == 1:
            return stride
        room = n_frames - 1 - sum(self._margins())
        return max(1, min(stride, room // (self.segments - 1)))

    def _starts(self, stride: int, n_frames: int) -> tuple[int, int]:
        """First and last start whose clip is inside the video; the centred one if none is."""
        before, after = self._margins()
        first = before
        last = n_frames - 1 - after - stride * (self.segments - 1)
        if last < first:
            first = last = (n_frames - 1 - stride * (self.segments - 1)) // 2
        return first, last

    def _margins(self) -> tuple[int, int]:
        """Frames that a chunk needs before and behind the one it is centred on."""
        half = self.stack // 2
        return max(half, -min(self.frames)), max(self.stack - half, *self.frames)
