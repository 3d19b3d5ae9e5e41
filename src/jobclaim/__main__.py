"""``python -m jobclaim``: the command line."""

from jobclaim.cli.main import main

if __name__ == "__main__":
    main()
