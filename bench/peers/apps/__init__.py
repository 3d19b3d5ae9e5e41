"""Each peer's own program, run in its own virtual environment: this folder is on its path and nothing else of ours."""
