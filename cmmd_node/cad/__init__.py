"""Finding what is suspicious in a mammogram."""

from cmmd_node.cad.classical import ClassicalDetector

__all__ = ["ClassicalDetector"]
