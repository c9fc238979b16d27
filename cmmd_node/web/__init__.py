"""What the node says over HTTP: health and metrics."""

from cmmd_node.web.app import make_app

__all__ = ["make_app"]
