"""Experiment trackers: one file per tracker."""
