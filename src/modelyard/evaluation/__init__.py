"""Evaluation: a Release and a suite in, a Report out."""
