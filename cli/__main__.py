"""``python -m cli``, for where the `jobclaim` script is not on the path."""

from cli.start import main

main()
