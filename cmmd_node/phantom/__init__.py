"""Synthetic mammography exams with known truth: for the demo, tests, load, the self-check and pre-training."""

from cmmd_node.phantom.datasets import to_datasets
from cmmd_node.phantom.exam import Exam, PhantomView, Truth, make_exam

__all__ = ["Exam", "PhantomView", "Truth", "make_exam", "to_datasets"]
