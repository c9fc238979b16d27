"""Finding what is suspicious in a mammogram."""

from cmmd_node.cad.classical import ClassicalDetector
from cmmd_node.cad.detector import Detector, model_of, open_detector

__all__ = ["ClassicalDetector", "Detector", "model_of", "open_detector"]
