"""Optical flow as networks eat it: small fields of 8 bits, their making kept beside them.

Flow is ``(dx, dy)`` in pixels per frame, arrays are ``(row, column)``. It is computed from each
frame to the next (`fields`), brought to 8 bits (`quantise`), and kept with what made it
(`FlowSettings`): a network that was trained on other flow is refused (`check_fingerprint`). Flow
that another program wrote beside images, and ours for other programs, lies in folders of
``img_00001.jpg``, ``flow_x_00001.jpg``, ``flow_y_00001.jpg`` (`read_folder`, `write_folder`).
"""

from deep.flow.computing import MIN_SIDE, check_device, fields, homography
from deep.flow.folders import FlowFolder, read_folder
from deep.flow.levels import LEVELS, ZERO, dequantise, largest, quantise
from deep.flow.settings import ALGORITHMS, VERSION, FlowSettings, check_fingerprint
from deep.flow.stacking import follow
from deep.flow.writing import FORMATS, LAYOUTS, check_form, image_folder, write_folder

__all__ = [
    "ALGORITHMS",
    "FORMATS",
    "LAYOUTS",
    "LEVELS",
    "MIN_SIDE",
    "VERSION",
    "ZERO",
    "FlowFolder",
    "FlowSettings",
    "check_device",
    "check_fingerprint",
    "check_form",
    "dequantise",
    "fields",
    "follow",
    "homography",
    "image_folder",
    "largest",
    "quantise",
    "read_folder",
    "write_folder",
]
