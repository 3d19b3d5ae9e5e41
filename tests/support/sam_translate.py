"""SAM template on standard input, plain CloudFormation as JSON on standard output; nothing is asked of AWS.

Run by the tools' own Python (`make tools`): SAM's translator pins versions that jobclaim does not share.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def main() -> None:
    """Translate one template."""
    from samtranslator.parser.parser import Parser  # type: ignore[import-not-found]
    from samtranslator.translator.translator import Translator  # type: ignore[import-not-found]
    from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-not-found]

    template: Any = yaml_parse(sys.stdin.read())
    translator = Translator(managed_policy_map={}, sam_parser=Parser())  # {}: no managed policy by its short name
    json.dump(translator.translate(template, parameter_values={}), sys.stdout)


if __name__ == "__main__":
    main()
