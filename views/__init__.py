"""Presentation of jobs, queues and workers: records, values and texts shared by the command line and the dashboard."""
