"""Requests to the job table and related storage: large payloads in S3, notes, small records."""
