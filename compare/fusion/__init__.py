"""Fusion: of scores, by fixed rules or by rules that learn, and of encodings."""

from compare.fusion.calibration import (
    CALIBRATIONS,
    Calibration,
    calibrate,
    calibration_error,
    table_error,
)
from compare.fusion.early import Encodings, concatenate, kernel_sum
from compare.fusion.learned import (
    FittedOnTestError,
    LearnedRule,
    cross_fit,
    fit,
    picked_on_test,
)
from compare.fusion.normalise import NORMALISATIONS, normalised, unit
from compare.fusion.rules import LEARNED, FusionRule, fuse, parse_rules, sci, sci_mean

__all__ = [
    "CALIBRATIONS",
    "LEARNED",
    "NORMALISATIONS",
    "Calibration",
    "Encodings",
    "FittedOnTestError",
    "FusionRule",
    "LearnedRule",
    "calibrate",
    "calibration_error",
    "concatenate",
    "cross_fit",
    "fit",
    "fuse",
    "kernel_sum",
    "normalised",
    "parse_rules",
    "picked_on_test",
    "sci",
    "sci_mean",
    "table_error",
    "unit",
]
