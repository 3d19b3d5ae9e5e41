"""The worker's main process: heartbeat, intake, lost children, cancels, the stop."""
