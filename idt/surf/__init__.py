"""SURF: fast-Hessian keypoints and 128-number descriptors.

The pip wheels of OpenCV leave SURF out; this is a numba implementation that follows OpenCV 2.4
stage by stage (sampling steps, filter sizes, tests, interpolation), so that the matches are those
of the reference program. Points are (x, y) in pixels, angles degrees counter-clockwise in an image
whose y axis points up.

References
----------
Bay, Ess, Tuytelaars, Van Gool, SURF: Speeded Up Robust Features, CVIU 2008.
"""

from idt.surf.keypoints import HESSIAN_THRESHOLD, Keypoints, detect_and_describe
from idt.surf.orientation import fast_atan2

__all__ = ["HESSIAN_THRESHOLD", "Keypoints", "detect_and_describe", "fast_atan2"]
