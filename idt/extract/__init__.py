"""Extraction: from a video to its trajectories."""

from idt.extract.extraction import Extraction, extract
from idt.extract.kernels import load_kernels
from idt.extract.loop import Step
from idt.extract.options import PRESETS, ExtractOptions

__all__ = ["PRESETS", "ExtractOptions", "Extraction", "Step", "extract", "load_kernels"]
