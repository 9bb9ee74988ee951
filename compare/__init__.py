"""Scores of recognisers, joined by video id, fused, measured and reported."""
