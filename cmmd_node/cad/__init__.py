"""Finding what is suspicious in a mammogram."""

from cmmd_node.cad.classical import ClassicalDetector
from cmmd_node.cad.detector import Detector, both_views_of, model_of, open_detector

__all__ = ["ClassicalDetector", "Detector", "both_views_of", "model_of", "open_detector"]
