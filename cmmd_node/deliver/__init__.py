"""Out: result objects to the configured peers."""

from cmmd_node.deliver.commitment import report_commitment
from cmmd_node.deliver.destination import send_to
from cmmd_node.deliver.retry import Verdict, retry_after_seconds, verdict_of
from cmmd_node.deliver.scu import Answer, Outgoing, echo, send

__all__ = [
    "Answer",
    "Outgoing",
    "Verdict",
    "echo",
    "report_commitment",
    "retry_after_seconds",
    "send",
    "send_to",
    "verdict_of",
]
