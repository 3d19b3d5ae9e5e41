"""The environments that a rendered template gives its containers and its function, as CloudFormation fills them in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from jobclaim.infra.render import render
from jobclaim.settings import Settings

REGION = "eu-west-1"


class _Loader(yaml.CSafeLoader):
    """Keeps CloudFormation's own tags as mappings of one key: ``!Ref JobTable`` is ``{"Ref": "JobTable"}``."""


def _tagged(loader: yaml.CSafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {suffix: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _tagged)


def environments(settings: Settings) -> dict[str, dict[str, str]]:
    """Give each container's and the function's variables by resource, with the parameters at their defaults."""
    document = yaml.load(render(settings), _Loader)  # noqa: S506 - a SafeLoader
    stack = _Stack(document)
    found: dict[str, dict[str, str]] = {}
    for name, resource in document["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::ECS::TaskDefinition":
            (container,) = properties["ContainerDefinitions"]
            found[name] = {row["Name"]: stack.text(row["Value"]) for row in container["Environment"]}
        elif resource["Type"] == "AWS::Serverless::Function":
            variables = properties["Environment"]["Variables"]
            found[name] = {key: stack.text(value) for key, value in variables.items()}
    return found


def outside(settings: Settings) -> str:
    """Give the ``.env`` file that the stack offers to programs outside it."""
    document = yaml.load(render(settings), _Loader)  # noqa: S506 - a SafeLoader
    return _Stack(document).text(document["Outputs"]["Environment"]["Value"])


class _Stack:
    """What the references of a stack come to."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def text(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        ((kind, argument),) = value.items()
        if kind == "Ref":
            return self._reference(argument)
        if kind == "Sub":
            return re.sub(r"\$\{([^}]+)\}", lambda found: self._reference(found[1]), argument)
        assert kind == "If", value
        condition, yes, no = argument
        assert condition == "RecoverByBeat"
        return self.text(yes if self._document["Parameters"]["RecoveryBy"]["Default"] == "beat" else no)

    def _reference(self, name: str) -> str:
        if name == "AWS::Region":
            return REGION
        if name in self._document["Parameters"]:
            return str(self._document["Parameters"][name]["Default"])
        properties = self._document["Resources"][name]["Properties"]
        if "QueueName" in properties:
            return f"https://sqs.{REGION}.amazonaws.com/123456789012/{self.text(properties['QueueName'])}"
        return self.text(properties["TableName"])
