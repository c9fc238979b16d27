"""The index: what the node knows, in one database with the durable work that follows from it."""

from cmmd_node.index.engine import Index, now_ms, open_index

__all__ = ["Index", "now_ms", "open_index"]
