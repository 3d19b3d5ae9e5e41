"""The requests to the job table and its neighbours: large payloads in S3, notes, small records."""
