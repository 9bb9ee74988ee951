"""Settings of an extraction: the reference program's, and presets that trade for speed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from idt.camera import SEED
from idt.descriptors import DESCRIPTORS
from idt.histogram import N_CELLS, N_TIME_CELLS
from idt.pyramid import MAX_SCALES, PATCH_SIZE
from idt.sampling import STRIDE
from idt.tracking import LENGTH

FLOWS = ("farneback", "dis", "tvl1", "codec")
SEEDS = 2**64  # that RANSAC's random numbers can start from
STABILISATIONS = ("rewarp", "subtract", "none")
FEATURES = ("surf", "akaze", "sift", "orb", "none")
NORMALISATIONS = ("rootl1", "l2")
POSITIVE = (
    "track_length",
    "stride",
    "n_cells",
    "n_time_cells",
    "max_scales",
    "interval",
    "frame_step",
)

# What each preset changes.
PRESETS: dict[str, dict[str, Any]] = {
    "parity": {},
    # No finest scale; the camera's motion from the flow alone, and subtracted from it instead of
    # computing flow to a warped frame. Inverse search would take a tenth less, but the gradients of
    # its flow, of which MBH is made, have a correlation of .1 to .25 with those of Farneback's.
    "fast": {
        "stabilise": "subtract",
        "features": "none",
        "first_scale": 1,
    },
    # The motion vectors that the decoder has anyhow, at a quarter of the resolution, and no camera.
    "codec": {
        "flow": "codec",
        "stabilise": "none",
        "features": "none",
    },
}


@dataclass(frozen=True)
class ExtractOptions:
    """Settings of an extraction; the defaults are the reference program's.

    Attributes
    ----------
    track_length
        Steps of a trajectory, in frames, at least 1.
    stride
        Pixels between seeds, at least 1.
    patch_size
        Side in pixels of the window that is described, at least `n_cells`.
    n_cells, n_time_cells
        Cells of the window along x and y, and along time, at least 1; along time at most
        `track_length`.
    max_scales
        Largest number of scales, at least 1.
    first_scale
        Number of the finest scales that are left out, from 0 to `max_scales` - 1; 0 tracks at full
        resolution, too. With ``flow="codec"`` there is one scale, a quarter of the full resolution
        along x and y.
    interval
        Frames from one seeding to the next, at least 1.
    frame_step
        Frames of the video from one that is worked on to the next, at least 1, as if the others
        were not there: the skips of multi-skip feature stacking (Lan et al., CVPR 2015). Frames
        keep the video's numbers; lengths in frames count those that are worked on.
    descriptors
        Names of those that are kept, of `idt.descriptors.DESCRIPTORS` and in that order; what is
        left out costs nothing.
    normalise
        ``"rootl1"`` (Wang & Schmid 2013), or ``"l2"``, as dense trajectories had it in 2011.
    flow
        ``"farneback"``: the reference program's; ``"dis"``: dense inverse search;
        ``"tvl1"``: total variation and absolute differences, the dearest; ``"codec"``: motion
        vectors of the video file, see `idt.extract.codec_scale`.
    stabilise
        How the camera's motion is taken out: ``"rewarp"``: flow to the warped frame;
        ``"subtract"``: the homography's displacement taken from the flow; ``"none"``: not at all
        (plain dense trajectories).
    remove_camera_tracks
        Drop tracks without a step above one pixel once the camera's motion is out; None does so
        where `stabilise` is not ``"none"``.
    features
        Keypoints that are matched beside the flow's pairs: ``"surf"``, ``"akaze"``, ``"sift"``,
        ``"orb"``, or ``"none"``.
    detect_people
        Look for people in every frame and match nothing inside their boxes.
    seed
        Start of RANSAC's random numbers, from 0 to 2^64 - 1.

    Raises
    ------
    ValueError
        A setting cannot be, or settings do not go together.
    """

    track_length: int = LENGTH
    stride: int = STRIDE
    patch_size: int = PATCH_SIZE
    n_cells: int = N_CELLS
    n_time_cells: int = N_TIME_CELLS
    max_scales: int = MAX_SCALES
    first_scale: int = 0
    interval: int = 1
    frame_step: int = 1
    descriptors: tuple[str, ...] = DESCRIPTORS
    normalise: str = "rootl1"
    flow: str = "farneback"
    stabilise: str = "rewarp"
    remove_camera_tracks: bool | None = None
    features: str = "surf"
    detect_people: bool = False
    seed: int = SEED

    def __post_init__(self) -> None:
        for name in POSITIVE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}; raise it")
        if not 0 <= self.first_scale < self.max_scales:
            raise ValueError(
                f"first_scale must be from 0 to max_scales - 1 = {self.max_scales - 1}, got "
                f"{self.first_scale}; leave a scale to track on"
            )
        if self.patch_size < self.n_cells:
            raise ValueError(
                f"patch_size must be at least n_cells = {self.n_cells} pixels, got "
                f"{self.patch_size}; enlarge it"
            )
        if self.n_time_cells > self.track_length:
            raise ValueError(
                f"n_time_cells must be at most track_length = {self.track_length}, got "
                f"{self.n_time_cells}; lower it"
            )
        for name, choices in (
            ("flow", FLOWS),
            ("stabilise", STABILISATIONS),
            ("features", FEATURES),
            ("normalise", NORMALISATIONS),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be {', '.join(choices[:-1])} or {choices[-1]}, got "
                    f"{getattr(self, name)!r}; choose one"
                )
        if not isinstance(self.seed, int) or not 0 <= self.seed < SEEDS:
            raise ValueError(
                f"seed must be a whole number from 0 to 2**64 - 1 = {SEEDS - 1}, got {self.seed}; "
                "choose another"
            )
        if self.flow == "codec":
            self._check_codec()
        self._check_descriptors()

    @property
    def removes_camera_tracks(self) -> bool:
        """Whether camera tracks are dropped."""
        if self.remove_camera_tracks is None:
            return self.stabilise != "none"
        return self.remove_camera_tracks

    @property
    def uses_camera(self) -> bool:
        """Whether the camera's motion has to be known."""
        return self.stabilise != "none" or self.removes_camera_tracks

    def _check_codec(self) -> None:
        """Refuse what motion vectors cannot give."""
        if self.stabilise == "rewarp":
            raise ValueError(
                "stabilise must be subtract or none where flow is codec, got 'rewarp'; a file has "
                "no motion vectors to a warped frame"
            )
        if self.frame_step > 1:
            raise ValueError(
                f"frame_step must be 1 where flow is codec, got {self.frame_step}; motion vectors "
                "go from frame to frame"
            )
        if self.first_scale:
            raise ValueError(
                f"first_scale must be 0 where flow is codec, got {self.first_scale}; there is one "
                "scale"
            )

    def _check_descriptors(self) -> None:
        """Refuse unknown, repeated or no names; keep them in the table's order."""
        unknown = [name for name in self.descriptors if name not in DESCRIPTORS]
        if unknown or not self.descriptors or len(set(self.descriptors)) < len(self.descriptors):
            raise ValueError(
                f"descriptors must be one or more of {', '.join(DESCRIPTORS)}, each once, got "
                f"{', '.join(self.descriptors) or 'none'}; choose among these"
            )
        ordered = tuple(name for name in DESCRIPTORS if name in self.descriptors)
        object.__setattr__(self, "descriptors", ordered)

    @classmethod
    def preset(cls, name: str = "parity", **changes: Any) -> ExtractOptions:
        """Settings of a preset, with changes of one's own on top.

        Parameters
        ----------
        name
            ``"parity"``: the reference program's; ``"fast"``: several times faster for a little
            accuracy; ``"codec"``: the file's own motion vectors, the fastest there is.
        changes
            Any of the attributes; they win over the preset.

        Raises
        ------
        ValueError
            There is no such preset, or the settings do not go together.
        """
        if name not in PRESETS:
            raise ValueError(
                f"preset must be one of {', '.join(PRESETS)}, got {name!r}; choose one"
            )
        known = {field.name for field in fields(cls)}
        unknown = sorted(changes.keys() - known)
        if unknown:
            raise TypeError(
                f"options must be among {', '.join(sorted(known))}, got {', '.join(unknown)}; "
                "check the spelling"
            )
        return cls(**{**PRESETS[name], **changes})
