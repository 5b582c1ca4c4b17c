"""Rollouts: strategies, sequential statistics, the step machine, the route tables they ask for. Pure functions."""
