"""The durable work that follows from rows: its names, and how it is put into the transaction that makes the rows."""

from __future__ import annotations

from dbos import DBOSClient
from sqlalchemy import Connection

STUDY_QUEUE = "study"
STUDY_WORKFLOW = "study"
DELIVERY_QUEUE = "delivery"
DELIVERY_WORKFLOW = "delivery"
COMMITMENT_QUEUE = "commitment"
COMMITMENT_WORKFLOW = "commitment"
PRIORS_QUEUE = "priors"
PRIORS_WORKFLOW = "priors"


def round_work(study_instance_uid: str, number: int) -> str:
    """The workflow that takes the round of a study along the route."""
    return f"study:{study_instance_uid}:{number}"


def delivery_work(delivery_id: int, turn: int) -> str:
    """The workflow that brings results to a peer."""
    return f"delivery:{delivery_id}:{turn}"


def commitment_work(commitment_id: int) -> str:
    """The workflow that answers a storage commitment transaction."""
    return f"commitment:{commitment_id}"


def priors_work(study_instance_uid: str) -> str:
    """The workflow that looks for the priors of an exam."""
    return f"priors:{study_instance_uid}"


def enqueue_round(client: DBOSClient, connection: Connection, study_instance_uid: str, number: int) -> None:
    """Let a worker take the round of a study along the route; a second call for it changes nothing."""
    client.enqueue_in_transaction(
        connection,
        {
            "workflow_name": STUDY_WORKFLOW,
            "queue_name": STUDY_QUEUE,
            "workflow_id": round_work(study_instance_uid, number),
        },
        study_instance_uid,
        number,
    )


def enqueue_delivery(client: DBOSClient, connection: Connection, delivery_id: int, turn: int, peer: str) -> None:
    """Let a worker bring results to a peer; `turn` counts how often a person sent it again."""
    client.enqueue_in_transaction(
        connection,
        {
            "workflow_name": DELIVERY_WORKFLOW,
            "queue_name": DELIVERY_QUEUE,
            "queue_partition_key": peer,
            "workflow_id": delivery_work(delivery_id, turn),
        },
        delivery_id,
        turn,
    )


def enqueue_commitment(client: DBOSClient, connection: Connection, commitment_id: int, peer: str) -> None:
    """Let a worker judge a storage commitment transaction and tell the peer."""
    client.enqueue_in_transaction(
        connection,
        {
            "workflow_name": COMMITMENT_WORKFLOW,
            "queue_name": COMMITMENT_QUEUE,
            "queue_partition_key": peer,
            "workflow_id": commitment_work(commitment_id),
        },
        commitment_id,
    )


def enqueue_priors(client: DBOSClient, connection: Connection, study_instance_uid: str) -> None:
    """Let a worker look for the priors of an exam; a second call for it changes nothing."""
    client.enqueue_in_transaction(
        connection,
        {
            "workflow_name": PRIORS_WORKFLOW,
            "queue_name": PRIORS_QUEUE,
            "workflow_id": priors_work(study_instance_uid),
        },
        study_instance_uid,
    )
