"""What the embedded AWS skips when it deploys, read from the translated template itself."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest

from jobclaim.infra.render import render
from jobclaim.settings import QueueSpec, Settings, WorkerGroup
from tests.support.stacks import translated

GROUPS = {
    "fast": WorkerGroup(queues=("critical", "high_priority", "email"), min_tasks=2),
    "slow": WorkerGroup(
        queues=("default", "reports", "external_api", "maintenance"), cpu=2048, memory=8192, spot=False
    ),
}
MANY: dict[str, Any] = {"queue_preset": "priority", "worker_groups": GROUPS}


@pytest.fixture(params=["one group", "many queues"])
def settings(request: pytest.FixtureRequest) -> Settings:
    return Settings(**(MANY if request.param == "many queues" else {}))


@pytest.fixture
def document(settings: Settings) -> dict[str, Any]:
    return translated(render(settings))


def of_type(document: dict[str, Any], kind: str) -> dict[str, Any]:
    return {name: each["Properties"] for name, each in document["Resources"].items() if each["Type"] == kind}


def retained(document: dict[str, Any], kind: str) -> bool:
    return all(
        (each.get("DeletionPolicy"), each.get("UpdateReplacePolicy")) == ("Retain", "Retain")
        for each in document["Resources"].values()
        if each["Type"] == kind
    )


# --- data
def test_tables_survive_mistakes(document: dict[str, Any]) -> None:
    tables = of_type(document, "AWS::DynamoDB::Table")
    assert len(tables) == 2
    for table in tables.values():
        assert table["DeletionProtectionEnabled"] is True
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert table["SSESpecification"] == {"SSEEnabled": True}
        assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert retained(document, "AWS::DynamoDB::Table")


def test_queues_and_their_messages_survive_the_stack(document: dict[str, Any]) -> None:
    assert retained(document, "AWS::SQS::Queue")


def test_every_queue_refuses_plain_http(document: dict[str, Any]) -> None:
    policies = of_type(document, "AWS::SQS::QueuePolicy").values()
    covered = {policy["Queues"][0]["Ref"] for policy in policies}
    assert covered == set(of_type(document, "AWS::SQS::Queue"))
    for policy in policies:
        (statement,) = policy["PolicyDocument"]["Statement"]
        assert statement["Effect"] == "Deny"
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_dead_letters_outlive_the_messages_of_their_queue(document: dict[str, Any]) -> None:
    queues = of_type(document, "AWS::SQS::Queue")
    sources = [queue for queue in queues.values() if "RedrivePolicy" in queue]
    assert len(sources) * 2 == len(queues)
    for queue in sources:
        dead = queues[queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]]
        assert dead["MessageRetentionPeriod"] == 14 * 86_400 > queue["MessageRetentionPeriod"]
        assert dead["RedriveAllowPolicy"]["redrivePermission"] == "byQueue"
    assert all(queue["SqsManagedSseEnabled"] is True for queue in queues.values())


def test_every_visibility_timeout_is_the_derived_one(document: dict[str, Any], settings: Settings) -> None:
    queues = of_type(document, "AWS::SQS::Queue").values()
    live = {
        queue["QueueName"]["Fn::Sub"].removeprefix("${QueuePrefix}"): queue["VisibilityTimeout"]
        for queue in queues
        if "VisibilityTimeout" in queue
    }
    assert live == {name: settings.visibility_timeout(name) for name in settings.queue_names}


# --- services
def containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    definitions = of_type(document, "AWS::ECS::TaskDefinition").values()
    return list(chain.from_iterable(definition["ContainerDefinitions"] for definition in definitions))


def test_containers_have_no_root_nothing_to_write_to_and_time_to_stop(document: dict[str, Any]) -> None:
    for container in containers(document):
        assert container["User"] == "10001:10001"
        assert container["ReadonlyRootFilesystem"] == {"Fn::If": ["ExecEnabled", False, True]}
        assert container["LinuxParameters"] == {"InitProcessEnabled": True}
        assert container["LogConfiguration"]["Options"]["mode"] == "non-blocking"
        assert container["StopTimeout"] == (30 if container["Name"] == "beat" else 120)
        assert container["HealthCheck"]["Command"][:4] == ["CMD", "jobclaim", "worker", "health"]


def test_a_failed_deployment_rolls_back_and_autoscaled_services_have_no_desired_count(document: dict[str, Any]) -> None:
    services = of_type(document, "AWS::ECS::Service")
    scaled = {
        target["ResourceId"]["Fn::Sub"].split("${")[-1].removesuffix(".Name}")
        for target in of_type(document, "AWS::ApplicationAutoScaling::ScalableTarget").values()
    }
    assert scaled == set(services) - {"BeatService", "RecoveryService"}
    for name, service in services.items():
        assert service["DeploymentConfiguration"]["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
        assert ("DesiredCount" in service) is (name not in scaled)


def test_there_is_never_more_than_one_beat(document: dict[str, Any]) -> None:
    beat = of_type(document, "AWS::ECS::Service")["BeatService"]
    assert beat["DesiredCount"] == 1
    assert beat["DeploymentConfiguration"]["MaximumPercent"] == 100
    assert beat["DeploymentConfiguration"]["MinimumHealthyPercent"] == 0


def test_every_queue_but_recoverys_scales_its_group_on_messages_waiting_and_in_flight_per_task(
    document: dict[str, Any], settings: Settings
) -> None:
    policies = of_type(document, "AWS::ApplicationAutoScaling::ScalingPolicy")
    assert len(policies) == len(settings.queue_names) - 1
    for policy in policies.values():
        metrics = policy["TargetTrackingScalingPolicyConfiguration"]["CustomizedMetricSpecification"]["Metrics"]
        names = [each["MetricStat"]["Metric"]["MetricName"] for each in metrics if "MetricStat" in each]
        assert names == [
            "ApproximateNumberOfMessagesVisible",
            "ApproximateNumberOfMessagesNotVisible",
            "RunningTaskCount",
        ]


def on_fargate(strategy: Any) -> list[dict[str, Any]]:
    """The strategy where ``Compute`` is ``fargate``."""
    chosen: list[dict[str, Any]] = strategy["Fn::If"][2] if isinstance(strategy, dict) else strategy
    return chosen


def test_spot_is_for_groups_that_allow_it_and_never_for_recovery() -> None:
    services = of_type(translated(render(Settings(**MANY))), "AWS::ECS::Service")
    providers = {
        name: [each["CapacityProvider"] for each in on_fargate(service.get("CapacityProviderStrategy", []))]
        for name, service in services.items()
    }
    assert providers["FastService"] == ["FARGATE", "FARGATE_SPOT"]
    assert providers["SlowService"] == providers["RecoveryService"] == ["FARGATE"]


def test_recovery_runs_by_beat_or_by_lambda_but_not_by_both(document: dict[str, Any]) -> None:
    conditions = {name: each.get("Condition") for name, each in document["Resources"].items()}
    assert conditions["RecoveryService"] == conditions["RecoveryTaskDefinition"] == "RecoverByBeatOnEcs"
    assert conditions["RecoveryFunction"] == conditions["RecoveryFunctionEveryMinute"] == "RecoverByLambda"
    (beat,) = [container for container in containers(document) if container["Name"] == "beat"]
    switch = next(each["Value"] for each in beat["Environment"] if each["Name"] == "JOBCLAIM_RECOVERY_BY_BEAT")
    assert switch == {"Fn::If": ["RecoverByBeat", "true", "false"]}


def test_the_function_runs_the_workers_image_once_a_minute(document: dict[str, Any]) -> None:
    (function,) = of_type(document, "AWS::Lambda::Function").values()
    assert function["PackageType"] == "Image"
    assert function["Code"] == {"ImageUri": {"Ref": "Image"}}
    assert function["ImageConfig"]["Command"] == ["jobclaim.recovery.lambda_handler.handler"]
    assert (
        of_type(document, "AWS::Events::Rule")["RecoveryFunctionEveryMinute"]["ScheduleExpression"] == "rate(1 minute)"
    )


# --- alarms
def test_a_queue_is_late_at_its_sla_and_time_limit(document: dict[str, Any], settings: Settings) -> None:
    alarms = of_type(document, "AWS::CloudWatch::Alarm").values()
    thresholds = sorted(
        alarm["Threshold"] for alarm in alarms if alarm.get("MetricName") == "ApproximateAgeOfOldestMessage"
    )
    assert thresholds == sorted(settings.age_alarm_seconds(name) for name in settings.queue_names)


def test_every_alarm_on_our_logs_has_a_filter_that_feeds_it(document: dict[str, Any]) -> None:
    fed = {
        each["MetricTransformations"][0]["MetricName"] for each in of_type(document, "AWS::Logs::MetricFilter").values()
    }
    used: set[str] = set()
    for alarm in of_type(document, "AWS::CloudWatch::Alarm").values():
        if alarm.get("Namespace") != "AWS/SQS":
            metrics = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", [alarm]) if "MetricStat" in each]
            used |= {each["MetricName"] for each in metrics or [alarm]}
    assert used == {"Orphans", "RecoveryPasses", "Claims", "RefusedClaims"}
    assert used <= fed


def test_a_recovery_that_says_nothing_is_an_alarm(document: dict[str, Any]) -> None:
    assert of_type(document, "AWS::CloudWatch::Alarm")["RecoverySilentAlarm"]["TreatMissingData"] == "breaching"


# --- rights
def statements(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for name, role in of_type(document, "AWS::IAM::Role").items():
        for policy in role.get("Policies", []):
            found += [(name, each) for each in policy["PolicyDocument"]["Statement"]]
    for kind in ("AWS::IAM::ManagedPolicy", "AWS::IAM::Policy"):
        for name, policy in of_type(document, kind).items():
            found += [(name, each) for each in policy["PolicyDocument"]["Statement"]]
    return found


def test_no_role_has_a_wildcard_where_iam_knows_better(document: dict[str, Any]) -> None:
    wide = set()
    for name, statement in statements(document):
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not any("*" in action for action in actions), (name, statement)
        if statement["Resource"] == "*":
            wide |= set(actions)
    assert {action for action in wide if not action.startswith("ssmmessages:")} == {
        "ecr:GetAuthorizationToken",
        "ecs:DiscoverPollEndpoint",
    }


def test_no_role_has_a_policy_that_aws_wrote(document: dict[str, Any]) -> None:
    for role in of_type(document, "AWS::IAM::Role").values():
        assert "arn:" not in str(role.get("ManagedPolicyArns", ""))


def test_large_payloads_are_readable_where_they_are_needed_and_only_under_their_prefix() -> None:
    document = translated(render(Settings(bucket="big-jobs", bucket_prefix="jc/")))
    rights = {name: each for name, each in statements(document) if each.get("Sid") == "LargePayloads"}
    assert set(rights) == {
        "WorkersTaskRole",
        "WorkersInstanceRole",
        "RecoveryTaskRole",
        "SubmitterPolicy",
        "RecoveryPolicy",
        "DashboardReadPolicy",
    }
    assert {each["Resource"]["Fn::Sub"] for each in rights.values()} == {"arn:${AWS::Partition}:s3:::big-jobs/jc/*"}
    assert rights["DashboardReadPolicy"]["Action"] == ["s3:GetObject"]


def test_workers_may_write_to_the_tables_that_are_named_and_to_no_other(document: dict[str, Any]) -> None:
    policy = document["Resources"]["EffectsPolicy"]
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]

    assert policy["Condition"] == "HasEffectTables"
    assert statement["Resource"] == {"Ref": "EffectTables"}
    assert [action.partition(":")[2] for action in statement["Action"]] == [
        "PutItem",
        "UpdateItem",
        "DeleteItem",
        "ConditionCheckItem",
    ]


def test_recovery_may_publish_to_the_alert_topic_of_the_settings_and_to_no_other() -> None:
    topic = "arn:aws:sns:us-east-1:100000000001:alerts"
    rights = [
        (name, each["Resource"])
        for name, each in statements(translated(render(Settings(alert_topic_arn=topic))))
        if each["Action"] == "sns:Publish"
    ]
    assert rights == [("RecoveryPolicy", topic)]


def test_containers_run_with_the_settings_that_were_rendered() -> None:
    built = Settings(
        queues=(QueueSpec(name="default", soft_limit=5, hard_limit=10),), log_level="DEBUG", max_attempts=7
    )
    for container in containers(translated(render(built))):
        given = {each["Name"]: each["Value"] for each in container["Environment"]}
        assert given["JOBCLAIM_MAX_ATTEMPTS"] == "7"
        assert given["JOBCLAIM_LOG_LEVEL"] == "DEBUG"
        assert '"hard_limit":10' in given["JOBCLAIM_QUEUES"]
        assert given["JOBCLAIM_JOB_TABLE"] == {"Ref": "JobTable"}
