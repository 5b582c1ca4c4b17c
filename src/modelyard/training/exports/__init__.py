"""What leaves training in another form. So far: an adapter merged into its base."""

from modelyard.training.exports.exporter import MergedExporter

__all__ = ["MergedExporter"]
