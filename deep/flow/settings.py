"""What made a flow: kept with every cached field and with every network trained on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

VERSION = 1  # raised when the same settings give other bytes
CAMERA_VERSION = 2  # likewise, of taking out the camera's motion
ALGORITHMS = ("dis-medium", "dis-fast", "tvl1", "farneback")
GIVEN = "given"  # algorithm of flow that lies beside images and does not say itself what made it


@dataclass(frozen=True, kw_only=True)
class FlowSettings:
    """What made a flow.

    Parameters
    ----------
    algorithm
        ``dis-medium``, ``dis-fast``: dense inverse search by OpenCV's presets; ``tvl1``: total
        variation and absolute differences, as most papers on networks have it; ``farneback``: the
        one of improved dense trajectories. Or ``given:NAME`` for flow of another program, which
        lies in folders beside images; NAME is free, and tells one such flow from another.
    bound
        Displacements beyond this many pixels per frame are clipped (most re-implementations of
        Simonyan and Zisserman 2014 fix it to 20). None keeps for each component of each field its
        own largest displacement, as the paper does, and clips nothing.
    version
        Of the arithmetic.
    warped
        Whether the camera's motion is taken out.
    backward
        Whether the flow from each frame to the one before it is kept, too, which the
        bi-directional stack needs.
    camera
        Version of what takes the camera's motion out; says nothing of flow that is not warped.

    Raises
    ------
    ValueError
        The algorithm is unknown, the bound not above 0, the version not of this program, or given
        flow is asked for in a form that only computed flow has.
    """

    algorithm: str = "dis-medium"
    bound: float | None = 20.0
    version: int = VERSION
    warped: bool = False
    backward: bool = False
    camera: int = CAMERA_VERSION

    def __post_init__(self) -> None:
        name, colon, source = self.algorithm.partition(":")
        if name == GIVEN and colon and source:
            if self.warped or self.backward or self.bound is None:
                raise ValueError(
                    f"flow of {self.algorithm!r} must be taken as it is given, got bound="
                    f"{self.bound}, warped={self.warped}, backward={self.backward}; tell the bound "
                    "of its levels, and leave the others out"
                )
        elif self.algorithm not in ALGORITHMS:
            raise ValueError(
                f"algorithm must be one of {', '.join(ALGORITHMS)} or {GIVEN}:NAME, got "
                f"{self.algorithm!r}; choose one of these"
            )
        if self.bound is not None and not self.bound > 0:
            raise ValueError(f"bound must be above 0, got {self.bound}; give pixels per frame")
        for name, found, ours in (
            ("version", self.version, VERSION),
            ("camera", self.camera, CAMERA_VERSION),
        ):
            if found != ours:
                raise ValueError(
                    f"{name} of flow must be {ours}, got {found}; this program computes another "
                    "flow: train again, or use the program of that version"
                )

    @property
    def is_given(self) -> bool:
        """Whether another program made the flow."""
        return self.algorithm.startswith(f"{GIVEN}:")

    @property
    def n_channels(self) -> int:
        """Channels of a stored field: (dx, dy), and twice that with the flow backward."""
        return 4 if self.backward else 2

    def fingerprint(self) -> dict[str, Any]:
        """Give the settings as a JSON-able dictionary, to be compared before flow is used."""
        settings = asdict(self)
        if not self.warped:
            del settings["warped"], settings["camera"]
        if not self.backward:
            del settings["backward"]
        return settings


def check_fingerprint(found: dict[str, Any], wanted: dict[str, Any], *, owner: str) -> None:
    """Refuse flow that was made in another way than the one a network was trained on.

    Parameters
    ----------
    found, wanted
        Fingerprints, see `FlowSettings.fingerprint`.
    owner
        Whose flow is `wanted`, for the message.

    Raises
    ------
    ValueError
        The two differ; names each difference.
    """
    keys = sorted({*found, *wanted})
    differences = [
        f"{key} {found.get(key)!r} where {wanted.get(key)!r} is needed"
        for key in keys
        if found.get(key) != wanted.get(key)
    ]
    if differences:
        raise ValueError(
            f"flow must be made as for {owner}, got {'; '.join(differences)}; "
            "compute the flow again with those settings, or train again"
        )
