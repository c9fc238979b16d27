"""Out: result objects to the configured peers."""

from cmmd_node.deliver.retry import Verdict, retry_after_seconds, verdict_of
from cmmd_node.deliver.scu import Answer, Outgoing, echo, send

__all__ = ["Answer", "Outgoing", "Verdict", "echo", "retry_after_seconds", "send", "verdict_of"]
