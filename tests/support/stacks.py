"""Templates translated and deployed: CloudFormation of the embedded AWS, and what its containers would be given."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from jobclaim.infra.local import FAKE_KEY
from jobclaim.infra.render import render
from jobclaim.settings import Settings

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".cache" / "tools" / "sam" / "bin" / "python"
IMAGE = f"100000000001.dkr.ecr.us-east-1.amazonaws.com/jobclaim@sha256:{'0' * 64}"


@lru_cache(maxsize=32)
def translated(template: str) -> dict[str, Any]:
    """Give the plain CloudFormation of a SAM template; skips where ``make tools`` has not run."""
    if not TOOLS.exists():
        if os.environ.get("JOBCLAIM_REQUIRE_REAL") == "1":
            pytest.fail("JOBCLAIM_REQUIRE_REAL=1, but SAM's translator is missing: run `make tools`", pytrace=False)
        pytest.skip("SAM's translator is missing: run `make tools`")
    environment = {**os.environ, "AWS_DEFAULT_REGION": "us-east-1"}
    run = subprocess.run(
        [str(TOOLS), str(Path(__file__).with_name("sam_translate.py"))],
        input=template,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    document: dict[str, Any] = json.loads(run.stdout)
    return document


@dataclass
class DeployedStack:
    """A stack on the embedded AWS.

    Attributes
    ----------
    endpoint_url : str
    name : str
    parameters : dict
    to_be_updated : bool
        Leave out what no condition lets exist: moto's updates, unlike its creation, take no heed of conditions.
    """

    endpoint_url: str
    name: str
    parameters: dict[str, str]
    to_be_updated: bool = False

    def client(self, service: str, **credentials: str) -> Any:
        """Make a client for one service, as the account's administrator unless told otherwise."""
        import boto3

        keys: dict[str, Any] = dict(credentials) or {"aws_access_key_id": FAKE_KEY, "aws_secret_access_key": FAKE_KEY}
        session: Any = boto3.session.Session(region_name="us-east-1", **keys)
        return session.client(service, endpoint_url=self.endpoint_url)

    @cached_property
    def cloudformation(self) -> Any:
        """A client."""
        return self.client("cloudformation")

    def create(self, settings: Settings) -> None:
        """Deploy what the settings render to."""
        self.cloudformation.create_stack(**self._request(settings))

    def update(self, settings: Settings) -> None:
        """Deploy over it. Two faults of moto are mended: it forgets DeletionPolicy, and how ECS spells containers."""
        from moto.cloudformation.parsing import ResourceMap
        from moto.core.utils import pascal_to_camelcase, remap_nested_keys
        from moto.ecs.models import TaskDefinition

        delete, redefine = ResourceMap._delete_resource, TaskDefinition.update_from_cloudformation_json

        def unless_retained(stack: Any, resource: Any, document: dict[str, Any]) -> None:
            if document.get("DeletionPolicy") != "Retain":
                delete(stack, resource, document)

        def as_ecs_spells(*, cloudformation_json: dict[str, Any], **rest: Any) -> Any:
            properties = dict(cloudformation_json["Properties"])
            containers = properties["ContainerDefinitions"]
            properties["ContainerDefinitions"] = remap_nested_keys(containers, pascal_to_camelcase)
            return redefine(cloudformation_json={**cloudformation_json, "Properties": properties}, **rest)

        with (
            patch.object(ResourceMap, "_delete_resource", unless_retained),
            patch.object(TaskDefinition, "update_from_cloudformation_json", as_ecs_spells),
        ):
            self.cloudformation.update_stack(**self._request(settings))

    def _request(self, settings: Settings) -> dict[str, Any]:
        return {
            "StackName": self.name,
            "TemplateBody": json.dumps(self._document(settings)),
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in self.parameters.items()],
            "Capabilities": ["CAPABILITY_IAM"],
        }

    def _document(self, settings: Settings) -> dict[str, Any]:
        document = translated(render(settings))
        if not self.to_be_updated:
            return document
        by_lambda = self.parameters.get("RecoveryBy") == "lambda"
        absent = {"ExecEnabled", "OnEc2", "OnEcsInstances", "RecoverByBeatOnEcs" if by_lambda else "RecoverByLambda"}
        present = {name: each for name, each in document["Resources"].items() if each.get("Condition") not in absent}
        return {**document, "Resources": present}

    @property
    def outputs(self) -> dict[str, str]:
        """The stack's outputs."""
        (stack,) = self.cloudformation.describe_stacks(StackName=self.name)["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}

    def role_arn(self, logical_id: str) -> str:
        """ARN of one of the stack's roles."""
        roles = self.client("iam").list_roles()["Roles"]
        (arn,) = [role["Arn"] for role in roles if role["RoleName"].startswith(f"{self.name}-{logical_id}-")]
        return str(arn)

    def attach_managed_policies(self, settings: Settings, logical_id: str) -> None:
        """Attach to a role the stack's own managed policies that it names; moto leaves that out."""
        iam = self.client("iam")
        properties = translated(render(settings))["Resources"][logical_id]["Properties"]
        wanted = [each["Ref"] for each in properties.get("ManagedPolicyArns", []) if isinstance(each, dict)]
        for policy in iam.list_policies(Scope="Local")["Policies"]:
            if any(policy["PolicyName"].startswith(f"{self.name}-{name}") for name in wanted):
                iam.attach_role_policy(RoleName=self.role_arn(logical_id).rsplit("/", 1)[-1], PolicyArn=policy["Arn"])

    def container(self, family: str) -> dict[str, Any]:
        """Container definition of the newest task definition of a family: ``workers``, ``recovery``, ``beat``."""
        ecs = self.client("ecs")
        answer = ecs.describe_task_definition(taskDefinition=f"{self.name}-{family}")
        container: dict[str, Any] = answer["taskDefinition"]["containerDefinitions"][0]
        return container

    def environment(self, family: str, run_dir: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Environment of such a container on this machine: as deployed, but for the endpoint and the folder."""
        given = {each["name"]: str(each["value"]) for each in self.container(family)["environment"]}
        urls = json.loads(given["JOBCLAIM_QUEUE_URLS"])
        given["JOBCLAIM_QUEUE_URLS"] = json.dumps({name: self._local(url) for name, url in urls.items()})
        return {
            **os.environ,
            **given,
            "JOBCLAIM_ENDPOINT_URL": self.endpoint_url,
            "JOBCLAIM_RUN_DIR": str(run_dir),
            "PYTHONPATH": str(ROOT),
            "AWS_ACCESS_KEY_ID": FAKE_KEY,
            "AWS_SECRET_ACCESS_KEY": FAKE_KEY,
            "AWS_SESSION_TOKEN": "",
            **(extra or {}),
        }

    def _local(self, url: str) -> str:
        account, name = url.rstrip("/").split("/")[-2:]
        return f"{self.endpoint_url}/{account}/{name}"


@contextmanager
def deployed_stack(
    endpoint_url: str, settings: Settings, *, to_be_updated: bool = False, **parameters: str
) -> Iterator[DeployedStack]:
    """Deploy the settings' template under their own names."""
    stack = DeployedStack(
        endpoint_url,
        settings.queue_prefix.rstrip("-"),
        {
            "VpcId": "vpc-1",
            "SubnetIds": "subnet-1",
            "Image": IMAGE,
            **parameters,
        },
        to_be_updated,
    )
    stack.create(settings)
    yield stack
