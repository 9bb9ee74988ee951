"""Comparison of recognisers: data sets, score tables, fusion, metrics and reports."""
