"""The rules of the job's life, and the result of each move: decisions about values."""
