"""The records that the workflows' tests write to: both databases, one after the other."""

from tests.adapters.records.conftest import records, records_url

__all__ = ["records", "records_url"]
