"""Chat between a job's parties: a line, and how far somebody has read. Neither changes the job."""

from msgspec.structs import replace

from dispatch.commands import ReadMessages, Refusal, SendMessage
from dispatch.decision import Decision, State
from dispatch.wording import iso, message_fact, read_fact
from storage.records import Job, JobId, Message, Read, UserId


def party_job(state: State, job_id: JobId, kind: str, user: UserId) -> Job:
    """Raises Refusal not_found for whoever is not a party of the job now."""
    job = state.job(job_id)
    if job is None or job.kind != kind or user not in (job.requester_id, job.driver_id):
        raise Refusal("not_found")
    return job


def decide_send(state: State, command: SendMessage) -> Decision:
    job = party_job(state, command.job_id, command.kind, command.user)
    if job.driver_id is None:
        raise Refusal("wrong_state", "There is nobody to talk to before a driver is assigned.")
    if job.ended_ms:
        raise Refusal("wrong_state", "The job is over, and so is its chat.")
    message = Message(
        id=command.message_id,
        job_id=job.id,
        kind=job.kind,
        sender_id=command.user,
        sender_name=command.name,
        type=command.type,
        text=command.text,
        sent_ms=state.now_ms,
    )
    answer = {"id": message.id, "timestamp": iso(state.now_ms)}
    # read: whoever stops being a party between the reading and the commit must not be heard
    return Decision(answer=answer, read=(job,), facts=(message_fact(message),))


def decide_read(state: State, command: ReadMessages) -> Decision:
    job = party_job(state, command.job_id, command.kind, command.user)
    read = Read(
        job_id=job.id,
        kind=job.kind,
        reader_id=command.user,
        message_id=command.message_id,
        read_ms=state.now_ms,
    )
    fact = read_fact(read)
    if job.ended_ms:
        # kept, and told to nobody: the fact that ended the job was its room's last
        fact = replace(fact, event="", payload={})
    return Decision(answer={"messageId": command.message_id}, read=(job,), facts=(fact,))
