"""The API's command line: ``python cli.py NAME ...`` makes thumbnails."""

import sys

from workers.images import thumbnail


def main(names: list[str]) -> None:
    """Start a task for each name."""
    for name in names:
        print(thumbnail.delay(name, width=80).id)


if __name__ == "__main__":
    main(sys.argv[1:])
