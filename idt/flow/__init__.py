"""Optical flow: the reference program's Farneback over the pyramid, DIS, TV-L1, a codec's vectors.

Flow is (dx, dy) in pixels per frame, at the scale of the images it was computed on. Inside the
pyramid it is kept as planes, (2, row, column); the public functions for a single pair return
(row, column, 2).
"""

from idt.flow.codec import BLOCK, codec_flow
from idt.flow.expansion import expand, gaussian_kernel
from idt.flow.farneback import farneback, flow_pyramid
from idt.flow.inverse_search import dis
from idt.flow.resize import resize_flow
from idt.flow.tvl1 import tvl1, tvl1_energy

__all__ = [
    "BLOCK",
    "codec_flow",
    "dis",
    "expand",
    "farneback",
    "flow_pyramid",
    "gaussian_kernel",
    "resize_flow",
    "tvl1",
    "tvl1_energy",
]
