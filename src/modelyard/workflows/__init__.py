"""Durable jobs that join the stages: tune, roll out, ingest."""
