"""``python -m cli``, for where the `jobclaim` script is not on the path."""

from cli.main import main

main()
