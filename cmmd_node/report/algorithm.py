"""Which algorithm spoke: TID 4019, the same wherever the same algorithm is meant."""

from __future__ import annotations

from cmmd_node.facts import Model
from cmmd_node.report import codes
from cmmd_node.report.content import Item, Relation, text


def algorithm_identification(model: Model, relation: Relation = Relation.HAS_PROPERTIES) -> tuple[Item, ...]:
    """Algorithm Identification (PS3.16 TID 4019); the digest tells apart what bears the same name and version."""
    return (
        text(relation, codes.ALGORITHM_NAME, model.name),  # row 1
        text(relation, codes.ALGORITHM_VERSION, model.version),  # row 2
        text(relation, codes.ALGORITHM_PARAMETERS, f"model sha256 {model.digest}"),  # row 3
    )
