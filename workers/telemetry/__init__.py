"""Telemetry of workers: log lines, metrics and traces, without confidential values."""
