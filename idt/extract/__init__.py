"""Extraction: from a video to its trajectories."""

from idt.extract.loop import Extraction, Step, extract
from idt.extract.options import PRESETS, ExtractOptions

__all__ = ["PRESETS", "ExtractOptions", "Extraction", "Step", "extract"]
