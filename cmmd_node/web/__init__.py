"""What the node says over HTTP: health and metrics."""

from cmmd_node.web.app import make_app, serve_http

__all__ = ["make_app", "serve_http"]
