"""Settings of the API, from the environment."""

import os
from pathlib import Path


class Settings:
    """What differs from one deployment to the next."""

    def __init__(self) -> None:
        self.broker_url = os.environ.get("API_BROKER", "sqs://")
        self.storage = Path(os.environ.get("API_STORAGE", "storage"))
        self.tidy_seconds = float(os.environ.get("API_TIDY_SECONDS", "600"))


settings = Settings()
