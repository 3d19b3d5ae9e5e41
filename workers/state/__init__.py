"""The state of a worker that its processes share."""
