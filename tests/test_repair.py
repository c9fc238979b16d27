"""What is left after a database or a file was lost: found, indexed again, or named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cmmd_node.errors import OutOfResources, StartRefused
from cmmd_node.index import Index, open_index
from cmmd_node.index.identity import node_uid
from cmmd_node.index.status import counts
from cmmd_node.receive.inbox import Inbox
from cmmd_node.repair import reindex, verify
from cmmd_node.serve import lock
from cmmd_node.settings import Settings
from tests.receive.test_inbox import keep, objects


@pytest.fixture
def kept(settings: Settings, index: Index) -> list[Path]:
    """Three objects of three studies, and the identity under which results were written."""
    inbox = Inbox(settings, index, index.client())
    for study in ("first", "second", "third"):
        keep(inbox, study)
    node_uid(settings.node.data_dir, lambda: "2.25.1")
    return objects(settings)


def silent(_progress: str) -> None:
    pass


def rows(settings: Settings, statement: str) -> list[Any]:
    index = open_index(settings)
    with index.read() as connection:
        found = list(connection.exec_driver_sql(statement).all())
    index.close()
    return found


def sqlite_file(settings: Settings) -> Path:
    if settings.node.database_url:
        pytest.skip("about the embedded database")
    return settings.node.data_dir / "index.sqlite"


def test_a_lost_index_is_rebuilt_with_the_work_and_under_a_new_identity(settings: Settings, kept: list[Path]) -> None:
    path = sqlite_file(settings)
    for one in path.parent.glob("index.sqlite*"):
        one.unlink()
    done = reindex(settings, tell=silent)
    assert done == {"objects": 3, "indexed": 3, "put_aside": 0, "damaged_index": None}
    assert verify(settings, tell=silent) == {"objects": 3, "damaged": []}
    assert len(rows(settings, "SELECT workflow_uuid FROM workflow_status WHERE name = 'study'")) == 3
    index = open_index(settings)
    with index.read() as connection:
        assert sum(counts(connection).instances.values()) == len(objects(settings))
    index.close()
    assert node_uid(settings.node.data_dir, lambda: "2.25.2") == "2.25.2"


@pytest.mark.parametrize("damage", ["truncated", "overwritten"])
def test_a_damaged_index_refuses_the_start_and_reindex_puts_it_aside(
    settings: Settings, index: Index, kept: list[Path], damage: str
) -> None:
    path = sqlite_file(settings)
    index.close()
    with path.open("r+b") as file:
        if damage == "truncated":
            file.truncate(5000)
        else:
            file.write(b"no database" * 100)
    with pytest.raises(StartRefused, match="cmmd-node reindex") as refusal:
        open_index(settings)
    assert "\n" not in str(refusal.value)
    done = reindex(settings, tell=silent)
    assert (done["objects"], done["indexed"]) == (3, 3)
    assert Path(done["damaged_index"]).is_file()


@pytest.mark.fault("E77")
def test_files_newer_than_the_index_are_found_and_their_work_queued(
    settings: Settings, index: Index, kept: list[Path], tmp_path: Path
) -> None:
    path = sqlite_file(settings)
    index.close()
    shutil.copy(path, tmp_path / "yesterday")
    later = open_index(settings)
    keep(Inbox(settings, later, later.client()), "today")
    later.close()
    for one in path.parent.glob("index.sqlite*"):
        one.unlink()
    shutil.copy(tmp_path / "yesterday", path)
    done = reindex(settings, tell=silent)
    assert (done["objects"], done["indexed"]) == (4, 1)
    assert len(rows(settings, "SELECT study_instance_uid FROM round WHERE state = 'settling'")) == 4


def test_a_sound_index_stays_as_it_is_with_the_identity(settings: Settings, kept: list[Path]) -> None:
    assert reindex(settings, tell=silent)["indexed"] == 0
    assert objects(settings) == kept
    assert node_uid(settings.node.data_dir, lambda: "2.25.2") == "2.25.1"


def test_an_empty_index_beside_results_is_not_taken_for_a_new_node(settings: Settings, index: Index) -> None:
    result = settings.node.data_dir / "results" / "ab" / "ab01.dcm"
    result.parent.mkdir(parents=True)
    result.touch()
    with pytest.raises(StartRefused, match="cmmd-node reindex"):
        Inbox(settings, index, index.client()).adopt()


def test_an_object_that_finds_no_space_stays_where_it_is(
    settings: Settings, index: Index, kept: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OutOfResources("no space")

    inbox = Inbox(settings, index, index.client())
    monkeypatch.setattr(Inbox, "keep", full)
    with pytest.raises(OutOfResources):
        inbox.adopt_object(kept[0])
    assert objects(settings) == kept


def test_the_index_of_a_running_node_is_left_alone(settings: Settings, kept: list[Path]) -> None:
    held = lock(settings.node.data_dir, "receive-0")
    with pytest.raises(StartRefused, match="another node runs"):
        reindex(settings, tell=silent)
    os.close(held)


def test_every_kind_of_damage_is_named(settings: Settings, kept: list[Path]) -> None:
    kept[0].unlink()
    with kept[1].open("r+b") as file:
        file.truncate(kept[1].stat().st_size - 1)
    with kept[2].open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    found = verify(settings, tell=silent)
    assert found["objects"] == 3
    named = {one["path"]: one["problem"] for one in found["damaged"]}
    problems = [named[str(path.relative_to(settings.node.data_dir))] for path in kept]
    assert problems[0] == "missing"
    assert "were kept" in problems[1]
    assert problems[2] == "other bytes than were kept"


def test_the_commands_answer_in_json_and_by_their_status(settings: Settings, kept: list[Path]) -> None:
    node = {"data_dir": str(settings.node.data_dir), "database_url": settings.node.database_url}
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CMMD_NODE_")},
        **{f"CMMD_NODE_NODE__{key.upper()}": value for key, value in node.items()},
    }

    def run(command: str) -> tuple[int, Any]:
        words = [sys.executable, "-m", "cmmd_node.cli", command, "--json"]
        done = subprocess.run(words, capture_output=True, timeout=120, check=False, env=environment)
        return done.returncode, json.loads(done.stdout)

    assert run("verify") == (0, {"objects": 3, "damaged": []})
    assert run("reindex")[1]["indexed"] == 0
    kept[0].unlink()
    status, told = run("verify")
    assert status == 1
    assert [one["problem"] for one in told["damaged"]] == ["missing"]
