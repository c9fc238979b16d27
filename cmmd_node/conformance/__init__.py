"""The DICOM conformance statement, in the order of PS3.2, from the tables that the program itself uses.

What stands in it is looked up where it is decided: classes, transfer syntaxes and status codes in the rooms that talk,
templates, attributes and codes in objects that are written for the purpose. ``deploy/conformance.md`` is this text.
"""

from __future__ import annotations

from cmmd_node.conformance.network import network_chapters
from cmmd_node.conformance.objects import annexes

__all__ = ["statement"]


def statement() -> str:
    """The whole statement as Markdown."""
    return "\n\n".join((*network_chapters(), *annexes())) + "\n"
