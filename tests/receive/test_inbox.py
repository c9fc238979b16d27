"""What the inbox finds after a crash, and what it does with it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info

from cmmd_node import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from cmmd_node.errors import OutOfResources
from cmmd_node.index import Index
from cmmd_node.index.status import studies
from cmmd_node.receive.inbox import Inbox, Kept
from cmmd_node.settings import PRIOR_SOURCE, Settings
from tests.mammograms import make_mammogram
from tests.receive.conftest import data_set_bytes


def keep(inbox: Inbox, study: str = "study", source: str = "SENDER") -> tuple[Kept, bytes]:
    ds = make_mammogram(study=study)
    spool = inbox.spool(
        sop_class_uid=ds.SOPClassUID,
        sop_instance_uid=ds.SOPInstanceUID,
        transfer_syntax_uid=ds.file_meta.TransferSyntaxUID,
        source=source,
    )
    spool.write(data_set_bytes(ds))
    return inbox.keep(spool), data_set_bytes(ds)


def paths(index: Index) -> list[str]:
    with index.read() as connection:
        return [row[0] for row in connection.exec_driver_sql("SELECT path FROM instance ORDER BY path")]


def objects(settings: Settings) -> list[Path]:
    return sorted((settings.node.data_dir / "objects").glob("*/*.dcm"))


@pytest.mark.fault("E67")
def test_a_complete_file_without_a_row_is_indexed(settings: Settings, index: Index) -> None:
    inbox = Inbox(settings, index, index.client())
    keep(inbox, "known")
    (known,) = objects(settings)
    _, data = keep(inbox, "crashed")
    with index.write() as connection:
        connection.exec_driver_sql(f"DELETE FROM instance WHERE path <> '{known.relative_to(settings.node.data_dir)}'")
    inbox.adopt()
    with index.read() as connection:
        sources = connection.exec_driver_sql("SELECT source FROM instance").scalars().all()
    assert sources == ["SENDER", "SENDER"]
    assert sorted(paths(index)) == [str(path.relative_to(settings.node.data_dir)) for path in objects(settings)]
    assert len(objects(settings)) == 2
    assert any(path.read_bytes().endswith(data) for path in objects(settings))


def test_a_prior_without_a_row_is_indexed_as_a_prior(settings: Settings, index: Index) -> None:
    inbox = Inbox(settings, index, index.client())
    keep(inbox, source=PRIOR_SOURCE)
    with index.write() as connection:
        for table in ("instance", "round", "study"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    inbox.adopt()
    with index.read() as connection:
        (study,) = studies(connection)
    assert [one["state"] for one in study["rounds"]] == ["prior"]


def test_a_prior_that_is_sent_is_a_repeat_that_starts_work(settings: Settings, index: Index) -> None:
    inbox = Inbox(settings, index, index.client())
    keep(inbox, source=PRIOR_SOURCE)
    assert [keep(inbox)[0], keep(inbox)[0]] == [Kept.REPEAT, Kept.REPEAT]
    with index.read() as connection:
        (study,) = studies(connection)
        table = "workflow_status" if index.is_sqlite else "dbos.workflow_status"
        work = connection.exec_driver_sql(f"SELECT workflow_uuid FROM {table}").scalars().all()
    assert [one["state"] for one in study["rounds"]] == ["prior", "settling"]
    assert work == [f"study:{study['StudyInstanceUID']}:2"]


def test_the_file_begins_as_pydicom_would_write_it(settings: Settings, index: Index) -> None:
    keep(Inbox(settings, index, index.client()))
    (path,) = objects(settings)
    ds = make_mammogram()
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ds.file_meta.TransferSyntaxUID
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    meta.SourceApplicationEntityTitle = "SENDER"
    buffer = DicomBytesIO()
    write_file_meta_info(buffer, meta)
    assert path.read_bytes() == b"\0" * 128 + b"DICM" + buffer.getvalue() + data_set_bytes(ds)


def test_an_unreadable_file_without_a_row_is_put_aside(settings: Settings, index: Index) -> None:
    inbox = Inbox(settings, index, index.client())
    keep(inbox)
    broken = settings.node.data_dir / "objects" / "00" / "00ff.dcm"
    broken.write_bytes(b"\0" * 200)
    inbox.adopt()
    assert broken not in objects(settings)
    assert (settings.node.data_dir / "quarantine" / "00ff.dcm").exists()
    assert len(objects(settings)) == 1


@pytest.mark.fault("E67")
def test_leftovers_in_the_own_spool_are_removed_and_no_others(settings: Settings, index: Index) -> None:
    inbox = Inbox(settings, index, index.client())
    Inbox(settings, index, index.client(), name="1")
    spool = settings.node.data_dir / "spool"
    for number in ("0", "1"):
        (spool / number / "leftover").write_bytes(b"half an object")
    inbox.sweep()
    assert not (spool / "0" / "leftover").exists()
    assert (spool / "1" / "leftover").exists()


def test_a_repeat_whose_file_is_gone_is_no_success(settings: Settings, index: Index) -> None:
    inbox = Inbox(settings, index, index.client())
    keep(inbox)
    shutil.rmtree(settings.node.data_dir / "objects" / objects(settings)[0].parent.name)
    ds = make_mammogram()
    spool = inbox.spool(
        sop_class_uid=ds.SOPClassUID,
        sop_instance_uid=ds.SOPInstanceUID,
        transfer_syntax_uid=ds.file_meta.TransferSyntaxUID,
        source="SENDER",
    )
    spool.write(data_set_bytes(ds))
    with pytest.raises(OutOfResources, match="damaged"):
        inbox.keep(spool)


def test_a_start_takes_nothing_from_a_process_that_is_keeping_objects(settings: Settings, index: Index) -> None:
    starting = Inbox(settings, index, index.client())
    other = Inbox(settings, index, index.client(), name="web")
    keep(other)
    (path,) = objects(settings)
    assert starting.adopt_object(path)  # it had no row a moment ago
    assert objects(settings) == [path]
    path.rename(path.with_suffix(".moved"))
    assert not starting.adopt_object(path)


def test_a_start_that_is_faster_is_a_success_for_the_process_that_was_keeping(
    settings: Settings, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting = Inbox(settings, index, index.client())
    other = Inbox(settings, index, index.client(), name="web")
    commit = Inbox._commit

    def adopt_first(self: Inbox, path: str, *arguments: Any) -> None:
        monkeypatch.setattr(Inbox, "_commit", commit)
        assert starting.adopt_object(settings.node.data_dir / path)
        commit(self, path, *arguments)

    monkeypatch.setattr(Inbox, "_commit", adopt_first)
    assert keep(other)[0] is Kept.REPEAT
    assert [str(path.relative_to(settings.node.data_dir)) for path in objects(settings)] == paths(index)
    assert not list((settings.node.data_dir / "spool").rglob("*.*"))
