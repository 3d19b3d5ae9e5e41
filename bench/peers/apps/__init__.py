"""Each peer's program, run in its own virtual environment with only this folder of ours on its path."""
