"""Weights of networks on disk: our own files, PyTorch's, and MatConvNet's.

Nothing in such a file is executed. A file that does not fit a network is refused whole: the names
and shapes are compared before the first number is copied.
"""

from deep.weights.matconvnet import MatConvNet, read_matconvnet
from deep.weights.published import read_state
from deep.weights.stored import HEADER, VERSION, WeightsError, check_fit, fit_into, load, save

__all__ = [
    "HEADER",
    "VERSION",
    "MatConvNet",
    "WeightsError",
    "check_fit",
    "fit_into",
    "load",
    "read_matconvnet",
    "read_state",
    "save",
]
