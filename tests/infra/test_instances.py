"""Compute on EC2: deployed by CloudFormation, booted by its own user data, drained when the instance is taken back."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobclaim.infra import local_aws
from jobclaim.infra.render import render
from jobclaim.jobs import JobRepo, JobStatus
from jobclaim.settings import QueueSpec, ScheduleSpec, Settings, WorkerGroup
from tests.support.endpoints import unique_name
from tests.support.imds import INSTANCE, MetadataService
from tests.support.processes import ManagedProcess
from tests.support.stack import EVIDENCE, ROOT, jobclaim
from tests.support.stacks import DeployedStack, deployed_stack, translated
from tests.support.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("ignore")
BIN = Path(sys.executable).parent
UNITS = ROOT / "deploy" / "systemd"
QUOTED = 'it\'s "${HOME}" \\ `x`'
STUBS = {
    "curl": f'case "$*" in *PUT*) echo token;; *instance-id*) echo {INSTANCE};; *) exit 22;; esac',
    "aws": 'echo "aws $*" >>"$RECORD"\nif [ "$1" = s3 ]; then cp "$RELEASE" "$5"; fi',
    "systemctl": 'echo "systemctl $*" >>"$RECORD"',
    "useradd": 'echo "useradd $*" >>"$RECORD"',
    "dnf": 'echo "dnf $*" >>"$RECORD"',
    "logger": "cat >/dev/null",
    "logrotate": "",
}
GROUPS = {
    "fast": WorkerGroup(queues=("critical", "high_priority", "email"), min_tasks=2),
    "slow": WorkerGroup(queues=("default", "reports", "external_api", "maintenance"), memory=8192, spot=False),
}


MANY = Settings(queue_preset="priority", worker_groups=GROUPS, bucket="large", stop_timeout_seconds=90)


# --- what is rendered
def of(template: str, name: str) -> Any:
    return translated(template)["Resources"][name]["Properties"]


def numbers(settings: Settings, group: str = "Workers") -> list[int]:
    """Seconds of the worker, of systemd and of the group, in the order in which they must end."""
    _, _, rest = render(settings).partition(f"  {group}LaunchTemplate:")
    wanted = (r"--within=(\d+)s", r"TimeoutStopSec=(\d+)", r"HeartbeatTimeout: (\d+)")
    return [int(re.findall(pattern, rest)[0]) for pattern in wanted]


@pytest.mark.parametrize(
    ("hard", "stop", "wanted"),
    [
        (1800, 120, [1830, 1840, 1870]),
        (30, 120, [120, 130, 160]),
        (30, 5, [60, 70, 100]),
        (40_000, 120, [7140, 7150, 7180]),
    ],
    ids=["hard limit", "stop timeout", "short jobs", "the hook's longest"],
)
def test_a_replaced_instance_waits_for_its_longest_job(hard: int, stop: int, wanted: list[int]) -> None:
    queue = QueueSpec(name="default", soft_limit=hard - 10, hard_limit=hard, visibility_factor=1)
    assert numbers(Settings(queues=(queue,), stop_timeout_seconds=stop)) == wanted


def test_each_group_waits_for_its_own_queues_and_containers_stop_as_the_settings_say() -> None:
    settings = MANY
    for name, group in GROUPS.items():
        hard = max(settings.longest_hard_limit(queue) for queue in group.queues)
        assert numbers(settings, name.title())[0] == max(90, hard + 30)
        (worker,) = of(render(settings), f"{name.title()}TaskDefinition")["ContainerDefinitions"]
        assert worker["StopTimeout"] == 90


def test_a_worker_has_the_same_rights_on_an_instance_as_in_a_container() -> None:
    template = render(MANY)
    for group in ("Fast", "Slow"):
        here, there = (of(template, f"{group}{kind}Role")["Policies"][0] for kind in ("Instance", "Task"))
        rights = [each for each in there["PolicyDocument"]["Statement"] if each["Sid"] != "ProtectMyself"]
        assert here["PolicyDocument"]["Statement"] == rights
        assert here["PolicyName"] == "worker"


def test_an_instance_takes_its_release_and_ends_its_own_group_only() -> None:
    (_, own) = of(render(MANY), "FastInstanceRole")["Policies"]
    rights = {each["Sid"]: each["Resource"] for each in own["PolicyDocument"]["Statement"]}
    assert rights["ReadRelease"] == {"Fn::Sub": "arn:${AWS::Partition}:s3:::${ReleaseBucket}/${ReleaseKey}"}
    assert rights["EndDrain"]["Fn::Sub"].endswith(":autoScalingGroupName/${AWS::StackName}-fast")
    assert rights["ReportStart"] == {"Ref": "AWS::StackId"}


def test_spot_instances_are_for_groups_that_allow_them_and_for_what_exceeds_the_minimum() -> None:
    template = render(MANY)
    found = {
        name: of(template, f"{name}Instances")["MixedInstancesPolicy"]["InstancesDistribution"]
        for name in ("Fast", "Slow", "Control")
    }
    assert {name: each["OnDemandPercentageAboveBaseCapacity"] for name, each in found.items()} == {
        "Fast": {"Ref": "OnDemandPercent"},
        "Slow": 100,
        "Control": 100,
    }
    assert found["Fast"]["OnDemandBaseCapacity"] == 2


def test_an_instance_is_replaced_when_its_successor_is_ready_and_never_below_the_minimum() -> None:
    resources = translated(render(MANY))["Resources"]
    update = resources["FastInstances"]["UpdatePolicy"]["AutoScalingRollingUpdate"]
    assert (update["WaitOnResourceSignals"], update["MinInstancesInService"], update["MaxBatchSize"]) == (True, 2, 1)
    assert resources["FastDrainHook"]["Properties"]["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"


def test_metadata_need_a_token_and_disks_are_encrypted() -> None:
    document = translated(render(MANY))["Resources"]
    templates = [each for each in document.values() if each["Type"] == "AWS::EC2::LaunchTemplate"]
    assert len(templates) == 4  # two groups, control, ECS
    for each in templates:
        data = each["Properties"]["LaunchTemplateData"]
        assert data["MetadataOptions"]["HttpTokens"] == "required"
        assert all(device["Ebs"]["Encrypted"] for device in data["BlockDeviceMappings"])


def test_settings_that_do_not_fit_into_user_data_are_read_from_the_release() -> None:
    many = {f"shop.tasks.number_{number}": {"queue": "default"} for number in range(400)}
    script = render(Settings(tasks=many, queues=(QueueSpec(name="default"),))).split("  WorkersLaunchTemplate:")[1]
    script = script.split("  WorkersInstances:")[0]
    assert len(script) < 16_384
    assert "JOBCLAIM_CONFIG=/opt/jobclaim/release/pyproject.toml" in script
    assert 'JOBCLAIM_QUEUE_URLS=\'{"default":"${DefaultQueue}"' in script
    assert "JOBCLAIM_TASKS" not in script


# --- what is deployed
@dataclass
class Booted:
    """An instance of the group `web`, as its user data left it below a folder instead of the root."""

    stack: DeployedStack
    settings: Settings
    script: str
    root: Path
    release: Path

    def file(self, path: str) -> str:
        return (self.root / path).read_text()

    def run(self, script: str, record: Path) -> subprocess.CompletedProcess[str]:
        """Run user data; the record tells which programs of the system it called."""
        stubs = self.root / "stubs"
        environment = {
            **os.environ,
            "PATH": f"{stubs}:/usr/bin:/bin",
            "RECORD": str(record),
            "RELEASE": str(self.release),
            "PYTHON": "python",
        }
        return subprocess.run(
            ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=100, check=False
        )

    def below(self, text: str) -> str:
        """Put the folder in front of the paths of an instance."""
        return re.sub(r"(?<![\w/.-])/(opt|etc|var/log)/", rf"{self.root}/\1/", text)

    def environment(self) -> dict[str, str]:
        """What systemd reads from the instance's environment file; bash reads it alike."""
        read = f"set -a; . {self.root / 'etc/jobclaim/env'}; env -0"
        out = subprocess.run(["bash", "-c", read], env={}, capture_output=True, text=True, check=True).stdout
        return {
            name: value
            for name, _, value in (row.partition("=") for row in out.split("\0"))
            if name.startswith("JOBCLAIM_")
        }


def stubs() -> dict[str, str]:
    """Programs of the system, by path; a virtual environment takes a moment, because it shares the pip of this one."""
    import pip

    agent = "opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl"
    venv = f'{sys.executable} -m venv --without-pip "${{@: -1}}"'
    path = f'echo {Path(pip.__file__).parents[1]} >"$(echo "${{@: -1}}"/lib/*/site-packages)/pip.pth"'
    own = {agent: 'echo "agent $*" >>"$RECORD"', "stubs/python": f"{venv}\n{path}"}
    return {f"stubs/{name}": body for name, body in STUBS.items()} | own


def packed(folder: Path) -> Path:
    """Pack a release with a wheel that takes no time to install."""
    wheel = folder / "wheels" / "shop-1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("shop.py", "VERSION = '1.0'\n")
        archive.writestr("shop-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
        archive.writestr("shop-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("shop-1.0.dist-info/RECORD", "")
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    return folder


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    """One stack and one instance for all tests below."""
    root, name = tmp_path_factory.mktemp("instance"), unique_name("i")
    settings = Settings(
        job_table=f"{name}-jobs",
        fleet_table=f"{name}-fleet",
        queue_prefix=f"{name}-",
        queues=(QueueSpec(name="default", soft_limit=20, hard_limit=30),),
        worker_groups={"web": WorkerGroup(queues=("default",), concurrency=1)},
        task_modules=("tests.support.tasks",),
        schedules={"nightly": ScheduleSpec(task="tests.note", cron="0 1 * * *", args=(QUOTED,))},
        wait_time_seconds=1,
    )
    release = root / "release.tar.gz"
    folder, instead = packed(root / "packing"), root
    for each in ("stubs", "etc/systemd/system", "etc/logrotate.d", "var/log", "opt/aws/amazon-cloudwatch-agent/bin"):
        (root / each).mkdir(parents=True)
    for program, body in stubs().items():
        path = root / program
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    install = folder / "deploy/ec2/install.sh"
    with local_aws(Settings()) as local, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Booted(DeployedStack(local.endpoint_url, name, {}), settings, "", instead, release)
        install.write_text(made.below(install.read_text()))
        with tarfile.open(release, "w:gz") as archive:
            archive.add(folder, arcname=".")
        (subnet, *_) = made.stack.client("ec2").describe_subnets()["Subnets"]
        parameters: dict[str, Any] = {
            "Compute": "ec2",
            "VpcId": subnet["VpcId"],
            "SubnetIds": subnet["SubnetId"],
            "ReleaseBucket": "releases",
            "ReleaseKey": "jobclaim/1.tar.gz",
            "ReleaseSha256": hashlib.sha256(release.read_bytes()).hexdigest(),
        }
        with deployed_stack(local.endpoint_url, settings, **parameters) as stack:
            made.stack = stack
            made.script = made.below(launched(stack, "JOBCLAIM_REGION", "jobclaim-worker@web"))
            done = made.run(made.script, root / "record")
            assert done.returncode == 0, (done.stdout, done.stderr, made.file("var/log/jobclaim-start.log"))
            yield made


def launched(stack: DeployedStack, *having: str) -> str:
    """User data of the deployed launch template that has these words."""
    answer = stack.client("ec2").describe_launch_template_versions(Versions=["$Latest"])
    scripts = [
        base64.b64decode(each["LaunchTemplateData"]["UserData"]).decode() for each in answer["LaunchTemplateVersions"]
    ]
    (script,) = [each for each in scripts if all(word in each for word in having)]
    return script


def test_each_group_has_instances_and_no_container_is_deployed(booted: Booted) -> None:
    groups = booted.stack.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    name = booted.stack.name
    assert {each["AutoScalingGroupName"]: (each["MinSize"], each["MaxSize"]) for each in groups} == {
        f"{name}-web": (1, 10),
        f"{name}-control": (1, 1),
    }
    assert booted.stack.client("ecs").list_clusters()["clusterArns"] == []
    assert "ClusterName" not in booted.stack.outputs


def test_queues_have_the_derived_timeout_and_units_wait_for_the_longest_job(booted: Booted) -> None:
    assert_derived(booted.stack, booted.settings)
    hard = booted.settings.longest_hard_limit("default")
    assert re.findall(r"TimeoutStopSec=(\d+)", booted.script) == [str(max(120, hard + 30) + 10)]


def assert_derived(stack: DeployedStack, settings: Settings) -> None:
    """Compare the visibility timeouts of a stack's queues with those derived from the tasks' limits."""
    sqs = stack.client("sqs")
    for name in settings.queue_names:
        url = sqs.get_queue_url(QueueName=settings.physical_name(name))["QueueUrl"]
        live = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
        assert int(live["VisibilityTimeout"]) == settings.visibility_timeout(name)


def test_recovery_and_beat_run_beside_each_other(booted: Booted) -> None:
    script = launched(booted.stack, "ControlInstances")
    line = next(row for row in script.splitlines() if "install.sh" in row)
    shown = subprocess.run(
        ["bash", "-c", f"echo {line.split('install.sh')[1]}"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.split() == ["jobclaim-recovery", "jobclaim-beat"]


def test_another_release_than_the_pinned_one_is_reported_and_not_installed(booted: Booted, tmp_path: Path) -> None:
    pinned = hashlib.sha256(booted.release.read_bytes()).hexdigest()
    assert booted.run(booted.script.replace(pinned, "0" * 64), tmp_path / "record").returncode != 0
    record = (tmp_path / "record").read_text()
    assert "--status FAILURE" in record
    assert "systemctl" not in record


def test_an_instance_boots_as_its_user_data_say(booted: Booted) -> None:
    record = booted.file("record").splitlines()
    assert record[-2] == "systemctl enable --now jobclaim-worker@web jobclaim-interruption@web"
    assert f"--logical-resource-id WebInstances --unique-id {INSTANCE} --status SUCCESS" in record[-1]
    shop = [str(booted.root / "opt/jobclaim/.venv/bin/python"), "-c", "import shop; print(shop.VERSION)"]
    assert subprocess.run(shop, capture_output=True, text=True, check=True).stdout == "1.0\n"

    agent = json.loads(booted.file("opt/aws/amazon-cloudwatch-agent/etc/jobclaim.json"))
    shipped = agent["logs"]["logs_collected"]["files"]["collect_list"]
    logs = booted.file("etc/systemd/system/jobclaim-.service.d/logs.conf")
    assert {each["log_group_name"] for each in shipped} == {f"/jobclaim/{booted.stack.name}"}
    assert [Path(each["file_path"]).name for each in shipped] == [
        "jobclaim-worker@web.log",
        "jobclaim-interruption@web.log",
    ]
    assert f"StandardOutput=append:{booted.root}/var/log/jobclaim/%N.log" in logs

    given = booted.environment()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(booted.root)
        for name, value in given.items():
            patch.setenv(name, value)
        read = Settings()
    assert read.digest == booted.settings.digest
    assert read.schedules["nightly"].args == (QUOTED,)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_takes_the_units_with_what_the_user_data_add(booted: Booted, tmp_path: Path) -> None:
    program = tmp_path / "jobclaim"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    script = booted.script
    drop_in = script[script.index("[Service]") : script.index("END", script.index("[Service]"))]
    for unit in sorted(UNITS.iterdir()):
        text = re.sub(r"/\S*/\.venv/bin/\w+", str(program), unit.read_text())
        (tmp_path / unit.name).write_text(text)
    added = tmp_path / "jobclaim-worker@web.service.d"
    added.mkdir()
    (added / "group.conf").write_text(re.sub(r"/\S*/\.venv/bin/\w+", str(program), drop_in))
    names = [f"{tmp_path}/{unit.name.replace('@.', '@web.')}" for unit in sorted(UNITS.iterdir())]
    for name in names:
        if "@web" in name:
            shutil.copy(name.replace("@web", "@"), name)
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    done = subprocess.run(
        ["systemd-analyze", "verify", *names], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    ours = [row for row in done.stderr.splitlines() if "jobclaim" in row]
    assert (done.returncode, ours) == (0, [])


def test_a_worker_is_drained_before_its_spot_instance_is_taken_back(booted: Booted, tmp_path: Path) -> None:
    """The unit's own commands, in systemd's order, with a socket in systemd's place."""
    command = re.findall(r"^ExecStart=(.+)$", booted.script, re.MULTILINE)[-1].split()
    environment = worker_environment(booted, tmp_path)
    repo = JobRepo.from_settings(booted.settings.model_copy(update={"endpoint_url": booted.stack.endpoint_url}))
    with (
        MetadataService() as imds,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
    ):
        systemd.bind(environment["NOTIFY_SOCKET"])
        systemd.settimeout(60)
        argv = [str(BIN / "jobclaim"), *command[1:]]
        with ManagedProcess("web", argv, log_dir=tmp_path, env=environment, cwd=ROOT) as worker:
            heard = told_until(systemd, "READY=1")
            assert "WATCHDOG=1" in heard
            never = json.dumps([str(tmp_path / "never")])
            done = jobclaim(environment, "submit", "tests.wait_or_again", "--args", never, "-o", "ids")
            assert done.returncode == 0, done.stderr
            job_id = done.stdout.strip()
            wait_until((tmp_path / "evidence").exists, 60, worker.log)
            ends = time.time() + 15
            imds.interrupt(ends)
            told = jobclaim(environment, "worker", "watch-interruption", "--metadata-url", imds.url, timeout=100)
            assert told.returncode == 0, told.stderr
            assert worker.wait_for_exit(30) == 0
        assert [json.loads(row)["state"] for row in told.stdout.splitlines()] == ["noticed", "stopped"]
        assert "STOPPING=1" in told_until(systemd, "STOPPING=1")
    job = repo.get_job(job_id)
    assert (job.status, job.charged, job.history[0].outcome) == (JobStatus.PENDING, 0, "release")
    assert job.history[0].ended_at / 1000 < ends + 1
    stopping = next(json.loads(row) for row in worker.log().splitlines() if '"worker.stopping"' in row)
    assert stopping["seconds_left"] <= 5, "120 s less 10, had it not been told of the deadline"


@pytest.mark.parametrize("unit", ["jobclaim-recovery", "jobclaim-beat"])
def test_recovery_and_beat_become_ready_report_that_they_live_and_stop(
    booted: Booted, tmp_path: Path, unit: str
) -> None:
    (command,) = re.findall(r"^ExecStart=(.+)$", (UNITS / f"{unit}.service").read_text(), re.MULTILINE)
    program, *arguments = command.replace("/var/lib/jobclaim-beat", str(tmp_path)).split()
    given = " ".join(re.findall(r"^Environment=(.+)$", (UNITS / f"{unit}.service").read_text(), re.MULTILINE))
    own = dict(pair.split("=", 1) for pair in given.replace("=/run/", f"={tmp_path}/").split())
    environment = {**worker_environment(booted, tmp_path), "JOBCLAIM_RUN_DIR": "", "XDG_RUNTIME_DIR": "", **own}
    environment["HOME"] = "/proc/none"  # that of the unit's user cannot be written to
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(environment["NOTIFY_SOCKET"])
        systemd.settimeout(60)
        argv = [str(BIN / Path(program).name), *arguments]
        with ManagedProcess(unit, argv, log_dir=tmp_path, env=environment, cwd=ROOT) as process:
            told_until(systemd, "READY=1")
            told_until(systemd, "WATCHDOG=1")
            process.send(signal.SIGTERM)
            assert process.wait_for_exit(60) == 0
        if unit == "jobclaim-recovery":
            passes = [json.loads(row) for row in process.log().splitlines() if row.startswith("{")]
            assert {row["event"] for row in passes} == {"recovery.pass_completed"}, "the metric filters count it"


def worker_environment(booted: Booted, tmp_path: Path) -> dict[str, str]:
    """Environment of the unit: the instance's file, with the embedded AWS in the place of AWS."""
    given = booted.environment()
    urls = {name: booted.stack._local(url) for name, url in json.loads(given["JOBCLAIM_QUEUE_URLS"]).items()}
    return {
        **os.environ,
        **given,
        "JOBCLAIM_QUEUE_URLS": json.dumps(urls),
        "JOBCLAIM_ENDPOINT_URL": booted.stack.endpoint_url,
        "JOBCLAIM_WORKER_NAME": "web",
        "JOBCLAIM_RUN_DIR": str(tmp_path / "run"),
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "PYTHONPATH": str(ROOT),
        EVIDENCE: str(tmp_path / "evidence"),
    }


def told_until(systemd: socket.socket, state: str) -> list[str]:
    """What systemd is told up to and including a state."""
    heard: list[str] = []
    while state not in heard:
        heard.append(systemd.recv(200).decode())
    return heard


def test_ecs_on_instances_deploys_the_same_services(booted: Booted) -> None:
    name = unique_name("e")
    settings = booted.settings.model_copy(
        update={"job_table": f"{name}-jobs", "fleet_table": f"{name}-fleet", "queue_prefix": f"{name}-"}
    )
    vpc, subnet = booted.stack.parameters["VpcId"], booted.stack.parameters["SubnetIds"]
    with deployed_stack(booted.stack.endpoint_url, settings, Compute="ecs-ec2", VpcId=vpc, SubnetIds=subnet) as stack:
        groups = stack.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        assert f"{name}-containers" in {each["AutoScalingGroupName"] for each in groups}
        assert stack.container("web")["command"] == ["jobclaim", "worker", "run", "--queue=default", "--concurrency=1"]
        assert stack.container("web")["stopTimeout"] == settings.stop_timeout_seconds
        assert_derived(stack, settings)
        assert f"ECS_CLUSTER={stack.outputs['ClusterName']}" in launched(stack, "ECS_CLUSTER", name)
