"""Actions of a user on one object: each is a conditional write, and is recorded in the audit trail."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

from jobclaim.dashboard.person import Person, Role
from jobclaim.dashboard.services import Services
from jobclaim.fleet.acting import acted, acting
from jobclaim.jobs import IllegalTransition, InvalidInput, JobNotFound, WrongWaitToken, checks
from jobclaim.recovery.dead import VERBS as DEAD_VERBS
from jobclaim.recovery.dead import Verb

State: TypeAlias = Literal["requested", "done"]
JOB_VERBS: Final = (*DEAD_VERBS, "cancel")
LONGEST_REASON: Final = 200


@dataclass(frozen=True, slots=True)
class Done:
    """Result of an action: ``done``, or ``requested`` if a worker carries it out."""

    state: State
    text: str


def act_on_job(services: Services, verb: str, job_id: str, person: Person, reason: str = "") -> Done:
    """Retry, cancel, resolve or abandon one job.

    Raises
    ------
    InvalidInput
        The verb is unknown.
    IllegalTransition
        The job's state does not allow it; the message names the state.
    JobNotFound, StoreUnavailable
    """
    checks.text(job_id, "id")
    reason = checks_reason(reason)
    services.shared.forget()
    if verb == "cancel":
        return _cancel(services, job_id, person, reason)
    if verb not in DEAD_VERBS:
        raise InvalidInput(f"verb={verb!r} is not a verb; use one of {', '.join(JOB_VERBS)}")
    services.repo.get_job(job_id)  # a missing job is reported as not found, not as refused
    report = services.letters.act(cast("Verb", verb), [job_id], by=person.name, reason=reason)
    if report.refused:
        raise IllegalTransition(f"job {job_id!r} was not changed: {report.refused[0][1]}")
    if verb == "retry":
        later = " Its message was not sent; recovery sends it." if report.unsent else ""
        return Done("requested", f"It is PENDING again and waits for a worker.{later}")
    return Done("done", f"It is {'RESOLVED' if verb == 'resolve' else 'ABANDONED'}.")


def resume(services: Services, job_id: str, name: str, payload: str, person: Person) -> Done:
    """Deliver the value that a job waits for; ``payload`` is JSON text.

    Raises
    ------
    InvalidInput
        The payload is not JSON.
    WrongWaitToken
        The sender is authenticated by a token alone, and it is not the wait's.
    ResumeRefused, JobNotFound, StoreUnavailable
    """
    checks.text(job_id, "id")
    try:
        value = json.loads(payload or "null")
    except ValueError:
        raise InvalidInput('payload is not JSON; write text as "yes", in double quotes') from None
    services.shared.forget()
    services.repo.sender = lambda job: services.send(job, 0.0)
    by_token = person.role is Role.HOLDER
    if by_token:  # recorded only when it succeeds, so that guessing tokens cannot fill the audit trail
        try:
            services.repo.resume(job_id, name, value, token=person.token, by=person.name)
        except JobNotFound:
            raise WrongWaitToken(
                f"the token is not that of wait {name!r} of job {job_id!r}; use the one that wait_token() returned "
                "for it"
            ) from None
        acted(services.repo, "resume", what=job_id, why=name[:LONGEST_REASON], by=person.name)
    else:
        with acting(services.repo, "resume", what=job_id, why=name[:LONGEST_REASON], by=person.name):
            services.repo.resume(job_id, name, value, by=person.name)
    return Done("requested", "The job was resumed; its body continues with the payload.")


def drain(services: Services, worker_id: str, person: Person, reason: str = "") -> Done:
    """Request a worker to stop as on SIGTERM: it claims nothing more and releases the jobs that it cannot end in time.

    Raises
    ------
    InvalidInput
        The worker has no record in the fleet table, so it would not read the request.
    StoreUnavailable
    """
    checks.text(worker_id, "id")
    services.shared.forget()
    with acting(services.repo, "drain", what=f"worker {worker_id}", why=checks_reason(reason), by=person.name):
        if services.fleet.ask_to_drain(worker_id) is None:
            raise InvalidInput(
                f"worker {worker_id!r} has no record in the fleet table: it has stopped, or never ran here; choose "
                "one from the workers page"
            )
    return Done("requested", f"{worker_id} stops after its next heartbeat, within about ten seconds.")


def _cancel(services: Services, job_id: str, person: Person, reason: str) -> Done:
    from jobclaim.workers.cancel import Answer, cancel, cancelled_by

    why = cancelled_by(person.name, reason)
    with acting(services.repo, "cancel", what=job_id, why=reason, by=person.name):
        answer = cancel(
            services.repo, job_id, reason=why, records=services.fleet, send=lambda job: services.send(job, 0.0)
        )
    if answer is Answer.CANCELLED:
        return Done("done", "The job is cancelled; its body does not run and will not start.")
    return Done("requested", "Its worker reads the request with its next heartbeat, notifies the task, and stops it.")


def checks_reason(reason: str) -> str:
    """Return a reason as it is stored. Raises `InvalidInput` if it is too long."""
    if len(reason) > LONGEST_REASON:
        raise InvalidInput(f"reason has {len(reason)} characters; at most {LONGEST_REASON} are allowed")
    return " ".join(reason.split())
