"""What a worker says of itself: log lines, metrics, traces, and what they must not say."""
