"""Releases on their road: policies, gates, stages, model cards, lineage."""
