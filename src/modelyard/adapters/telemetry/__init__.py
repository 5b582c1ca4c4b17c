"""Telemetry: OpenTelemetry over OTLP."""
