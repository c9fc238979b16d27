"""The rooms of the package: imports point one way, steps do not know each other, and heavy libraries stay in theirs."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "cmmd_node"

#: From the ground up; a room imports itself and rooms of floors below its own. A new room takes its place here.
FLOORS = (
    {
        *("cmmd_node", "errors", "facts", "files", "isolation", "rows", "pictures", "digital_mammography"),
        *("settings", "tls", "association", "multipart", "http_client"),
    },
    {"index"},
    {"receive", "retrieve", "assemble", "cad", "report", "deliver", "phantom"},  # the steps
    # What is made of steps: the collection's reader, the origin server, what is kept no longer, the route.
    {"cmmd", "dicomweb", "retention", "route"},
    {"analyze", "conformance", "demo", "train", "web"},  # for files, people, models and machines
    {"serve"},
    {"pull", "repair"},
    {"cli"},
)

#: On the ground floor the order counts as well: each imports only those before it.
GROUND = (
    *("cmmd_node", "errors", "facts", "files", "isolation", "rows", "pictures", "digital_mammography"),
    *("settings", "tls", "association", "multipart", "http_client"),
)

#: Libraries and the only rooms that may import them.
ONLY_IN = {
    "torch": {"cad", "train"},
    "safetensors": {"cad", "train"},
    "fastapi": {"web", "dicomweb"},
    "starlette": {"web", "dicomweb"},
    "uvicorn": {"web", "dicomweb"},
    "highdicom": {"report"},
    "pynetdicom": {"association", "receive", "retrieve", "deliver", "phantom"},
    "dicomweb_client": {"retrieve"},
    "requests": {"http_client"},
    "alembic": {"index"},
    "typer": {"cli"},
    "rich": {"cli"},
}

#: What outsiders of a room may rely on.
PUBLIC = {
    "cad": {"ClassicalDetector", "Detector", "both_views_of", "model_of", "open_detector"},
    "conformance": {"statement"},
    "deliver": {
        "Answer",
        "Outgoing",
        "Verdict",
        "echo",
        "report_commitment",
        "retry_after_seconds",
        "send",
        "send_to",
        "verdict_of",
    },
    "dicomweb": {"Cataloguer", "Decoder", "make_dicomweb"},
    "index": {"Index", "now_ms", "open_index"},
    "phantom": {"Exam", "PhantomView", "Truth", "make_exam", "to_datasets"},
    "retrieve": {"FoundSeries", "Patient", "Problem", "Source", "Take", "Wanted"},
    "report": {"Place", "ResultObject", "new_node_uid", "with_findings", "write_results"},
    "web": {"make_app", "serve_http"},
}

#: The children of the CAD limit their own libraries before these are loaded; no setting comes in that way.
MAY_TOUCH_ENVIRONMENT = {"settings.py", "isolation.py"}


def modules() -> Iterator[tuple[Path, str, ast.Module]]:
    """Every module of the package: its path below the package, its room, its tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        inner = path.relative_to(PACKAGE)
        room = "cmmd_node" if inner == Path("__init__.py") else inner.parts[0].removesuffix(".py")
        yield inner, room, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """Dotted names of everything that is imported anywhere in a module, also in functions and for type checkers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_of(tree: ast.Module) -> set[str]:
    """The rooms that a module imports from."""
    rooms = set()
    for name in imported(tree):
        top, *rest = name.split(".")
        if top == "cmmd_node":
            is_room = (PACKAGE / rest[0]).is_dir() or (PACKAGE / f"{rest[0]}.py").is_file()
            rooms.add(rest[0] if is_room else "cmmd_node")
    return rooms


def test_every_room_has_its_floor() -> None:
    known = set.union(*FLOORS)
    assert {room for _, room, _ in modules()} <= known
    assert sum(len(floor) for floor in FLOORS) == len(known)


@pytest.mark.parametrize("floor", range(len(FLOORS)))
def test_imports_point_down(floor: int) -> None:
    below = set().union(*FLOORS[:floor])
    wrong = [
        f"{path} imports {other}"
        for path, room, tree in modules()
        if room in FLOORS[floor]
        for other in rooms_of(tree)
        if other not in below and other != room and not (floor == 0 and _is_before(other, room))
    ]
    assert wrong == []


def _is_before(other: str, room: str) -> bool:
    return other in GROUND and GROUND.index(other) < GROUND.index(room)


def test_libraries_stay_in_their_rooms() -> None:
    wrong = [
        f"{path} imports {name}"
        for path, room, tree in modules()
        for name in imported(tree)
        if room not in ONLY_IN.get(name.split(".", maxsplit=1)[0], {room})
    ]
    assert wrong == []


def test_only_settings_read_the_environment() -> None:
    touching = {
        path.as_posix()
        for path, _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in {"environ", "environb", "getenv", "putenv"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    }
    touching |= {path.as_posix() for path, _, tree in modules() if {"os.environ", "os.getenv"} & set(imported(tree))}
    assert touching <= MAY_TOUCH_ENVIRONMENT


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("cmmd_node.cli", ["torch", "numpy", "pydicom", "pynetdicom", "sqlalchemy.orm", "fastapi", "highdicom"]),
        ("cmmd_node.receive.scp", ["torch", "highdicom", "fastapi", "scipy", "cmmd_node.cad"]),
        ("cmmd_node.serve", ["torch", "highdicom", "fastapi", "scipy", "cmmd_node.cad"]),
        ("cmmd_node.web", ["torch", "highdicom", "scipy", "cmmd_node.cad"]),
        ("cmmd_node.deliver", ["torch", "highdicom", "fastapi", "sqlalchemy.orm"]),
    ],
)
def test_role_runs_without_what_it_does_not_need(module: str, absent: list[str]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert [name for name in absent if name in loaded.stdout.split()] == []


def test_public_names_of_rooms_are_pinned() -> None:
    found = {}
    for path, room, _ in modules():
        if path.name == "__init__.py" and len(path.parts) == 2:
            names = getattr(importlib.import_module(f"cmmd_node.{room}"), "__all__", [])
            if names:
                found[room] = set(names)
    assert found == PUBLIC
