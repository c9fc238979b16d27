"""Disks that are full, slow or broken: what is refused, what stays behind, and that it passes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cmmd_node.errors import StartRefused
from cmmd_node.serve import lock
from tests.mammograms import make_mammogram
from tests.receive.conftest import Reception

Receive = Callable[..., Reception]


@pytest.mark.fault("E70")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT], ids=["disk full", "quota"])
@pytest.mark.parametrize("step", ["open", "write", "rename", "fsync"])
def test_a_full_disk_at_any_step_is_out_of_resources_and_passes(
    reception: Reception, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    real = getattr(os, step)

    def fail(*arguments: Any, **keywords: Any) -> Any:
        creates = step != "open" or (len(arguments) > 1 and arguments[1] & os.O_CREAT and "spool" in str(arguments[0]))
        is_ours = step != "write" or len(arguments[1]) > 100
        if creates and is_ours:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **keywords)

    monkeypatch.setattr(os, step, fail)
    assert reception.store(make_mammogram()) == [0xA700]
    monkeypatch.undo()
    assert reception.objects() == []
    assert reception.spooled() == []
    assert reception.rows("SELECT path FROM instance") == []
    assert reception.store(make_mammogram()) == [0x0000]


@pytest.mark.fault("E69")
def test_a_disk_that_fills_inside_an_object_is_free_again_before_the_answer(
    reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = os.write, []

    def fill(file: int, data: Any) -> int:
        written.append(len(data))
        if sum(written) > 6000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, data)

    monkeypatch.setattr(os, "write", fill)
    assert reception.store(make_mammogram()) == [0xA700]
    assert reception.spooled() == []
    monkeypatch.undo()
    assert reception.store(make_mammogram()) == [0x0000]


@pytest.mark.fault("E74")
def test_a_file_system_that_turned_read_only_is_named(
    reception: Reception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = os.open

    def fail(path: Any, flags: int, *more: Any, **keywords: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return int(real(path, flags, *more, **keywords))

    monkeypatch.setattr(os, "open", fail)
    assert reception.store(make_mammogram()) == [0xA700]
    assert "Read-only file system" in caplog.text
    monkeypatch.undo()
    assert reception.store(make_mammogram()) == [0x0000]


@pytest.mark.fault("E72")
def test_a_file_whose_sync_failed_is_not_synced_again(reception: Reception, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def fail(file: int) -> None:
        calls.append(file)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fail)
    assert reception.store(make_mammogram(), make_mammogram(study="next")) == [0xA700, 0xA700]
    assert len(calls) == 1, "a second sync may lie: the kernel calls the pages clean that it could not write"


@pytest.mark.fault("E79")
def test_a_second_receiver_on_one_data_dir_is_refused(tmp_path: Path) -> None:
    held = lock(tmp_path, "receive-0")
    with pytest.raises(StartRefused, match="another node runs"):
        lock(tmp_path, "receive-0")
    os.close(held)
    os.close(lock(tmp_path, "receive-0"))
