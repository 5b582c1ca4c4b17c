"""Conformance: what an engine does over HTTP, by the same checks whatever its kind, held against its sheet."""

from modelyard.adapters.engines.conformance.checking import check_engine

__all__ = ["check_engine"]
