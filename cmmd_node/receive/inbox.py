"""The inbox: received SOP Instances on disk, exactly as their senders encoded them.

C-STORE, STOW-RS and everything else that brings instances in write here, each process with a spool of its own. A spool
file becomes an object in this order: its bytes are synced, it is renamed, its directory is synced, one transaction
commits its row with the durable work that follows from it; only then is it promised to the sender. A crash between any
two of these leaves something that `sweep` and `adopt` clear up, never something that was promised and is gone.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
import secrets
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import xxhash
from dbos import DBOSClient
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from cmmd_node import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from cmmd_node.errors import (
    InstanceCollision,
    OutOfResources,
    RefusedInstance,
    StartRefused,
    UIDMismatch,
    WrongSOPClass,
    WrongStudy,
)
from cmmd_node.index import Index
from cmmd_node.index.intake import (
    KeptInstance,
    NewInstance,
    indexed_paths,
    is_empty,
    kept_instance,
    record_collision,
    record_instance,
    take_up_prior,
)
from cmmd_node.index.work import enqueue_round
from cmmd_node.receive.filesystem import refuse_to_span, sync_directory
from cmmd_node.receive.structure import Identity, Limits, read_identity
from cmmd_node.settings import PRIOR_SOURCE, Settings

logger = logging.getLogger(__name__)

#: How much of an object is left to write when the kernel is told to begin.
_AHEAD_BYTES = 1 << 20
_SHARDS = [f"{number:02x}" for number in range(256)]


class Kept(StrEnum):
    """What a success means."""

    NEW = "new"
    REPEAT = "repeat"
    """The same bytes came before; no new work follows, unless it was as a prior."""


class Spool:
    """One object on its way in: a file that nobody has been promised yet.

    A problem while writing (no space, over the limit) is kept in `problem` and the rest is swallowed, so that the
    association lives and the sender gets an answer.
    """

    def __init__(
        self,
        path: Path,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        source: str,
        limit: int,
        reserve: int,
    ) -> None:
        self.path = path
        self.source = source
        self.sop_class_uid = sop_class_uid
        self.sop_instance_uid = sop_instance_uid
        self.transfer_syntax_uid = transfer_syntax_uid
        self.problem: RefusedInstance | None = None
        self.identity: Identity | None = None
        """Whose object it is, once `Inbox.keep` has read it."""
        self.size_bytes = 0
        self.data_set_start = 0
        self._limit = limit
        self._reserve = reserve
        self._hash = xxhash.xxh3_128(transfer_syntax_uid.encode())
        self._file: int | None = None
        self._begun = 0  # bytes that the kernel has been told to write
        header = _part10_header(sop_class_uid, sop_instance_uid, transfer_syntax_uid, source)
        try:
            self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o640)
            _write_all(self._file, header)
        except OSError as error:
            self._give_up(error)
        self.size_bytes = self.data_set_start = len(header)

    @classmethod
    def reopen(cls, final: Path, path: Path) -> Spool:
        """A complete object found on disk, as if it had just been written; `path` is a free name in the spool."""
        meta = read_file_meta_info(final)
        found = cls(
            path,
            sop_class_uid=meta.MediaStorageSOPClassUID,
            sop_instance_uid=meta.MediaStorageSOPInstanceUID,
            transfer_syntax_uid=meta.TransferSyntaxUID,
            source=str(meta.get("SourceApplicationEntityTitle", "")) or "recovered",
            limit=2 * final.stat().st_size,
            reserve=0,
        )
        content = final.read_bytes()
        found.write(content[144 + meta.FileMetaInformationGroupLength :])
        return found

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append a piece of the data set; never raises for the disk's sake."""
        if self.problem is not None or self._file is None:
            return
        self.size_bytes += len(data)
        if self.size_bytes > self._limit:
            self._give_up(OSError(errno.EFBIG, f"larger than the limit of {self._limit} bytes"))
            return
        try:
            _write_all(self._file, data)
        except OSError as error:
            self._give_up(error)
            return
        self._hash.update(data)
        if self.size_bytes - self._begun >= _AHEAD_BYTES:
            self.begin_sync()
            if shutil.disk_usage(self._file).free < self._reserve:
                self._give_up(OSError(errno.ENOSPC, "the rest of the disk is held in reserve"))

    def begin_sync(self) -> None:
        """Have the kernel begin to write what it has, so that less is left for `sync`; promises nothing."""
        if self._file is not None:
            # What POSIX calls advice that the bytes are not needed is how Linux is told to start writing them.
            os.posix_fadvise(self._file, self._begun, self.size_bytes - self._begun, os.POSIX_FADV_DONTNEED)
            self._begun = self.size_bytes

    @property
    def digest(self) -> str:
        """XXH3-128 over the transfer syntax and the data set's bytes, hexadecimal."""
        return self._hash.hexdigest()

    @contextmanager
    def mapped(self) -> Iterator[mmap.mmap]:
        """The file's bytes."""
        if self._file is None:
            raise self.problem or OutOfResources("the spool file is closed")
        with mmap.mmap(self._file, 0, prot=mmap.PROT_READ) as data:
            yield data

    def sync(self) -> None:
        """Bring the bytes to stable storage."""
        if self._file is not None:
            os.fdatasync(self._file)

    def discard(self) -> None:
        """Close the file, wherever it is now, and remove it from the spool; a kept object is not touched."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self.path.unlink(missing_ok=True)

    def _give_up(self, error: OSError) -> None:
        """Free the disk at once: the part is of no use, and it may be what keeps the disk full."""
        self.problem = OutOfResources(f"the object cannot be written: {error.strerror}")
        self.discard()


class Inbox:
    """Spool and store of one process; safe to use from many threads, and beside those of others on one data_dir.

    Parameters
    ----------
    name
        Of its spool, which no other process may have: the number of a receiver, or the role of another process.
    """

    def __init__(self, settings: Settings, index: Index, client: DBOSClient, *, name: str = "0") -> None:
        self._root = settings.node.data_dir.absolute()
        self._spool = self._root / "spool" / name
        self._index = index
        self._client = client
        self._limit = settings.receive.object_limit_mb * 1_000_000
        self._reserve = settings.receive.reserve_mb * 1_000_000
        self._complexity = Limits(depth=settings.receive.depth_limit, elements=settings.receive.element_limit)
        self._broken: str | None = None
        for directory in (self._spool, self._root / "objects", self._root / "quarantine"):
            directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        for shard in _SHARDS:
            (self._root / "objects" / shard).mkdir(mode=0o750, exist_ok=True)
        refuse_to_span(self._spool, self._root / "objects" / _SHARDS[0], self._root / "quarantine")
        for directory in (self._root / "objects", self._root):
            sync_directory(directory)

    def refusal(self) -> str | None:
        """Why nothing can be taken now, None when something can: space beyond the reserve, and a disk that syncs."""
        if self._broken is not None:
            return self._broken
        free = shutil.disk_usage(self._root).free
        if free < self._reserve:
            return f"{free // 1_000_000} MB free, less than the reserve of {self._reserve // 1_000_000} MB"
        return None

    def spool(self, *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source: str) -> Spool:
        """Begin an object under a random name.

        Parameters
        ----------
        source
            Calling AE title of the sender.

        Raises
        ------
        OutOfResources
            Nothing can be taken now.
        """
        refusal = self.refusal()
        if refusal is not None:
            raise OutOfResources(refusal)
        return Spool(
            self._spool / secrets.token_hex(16),
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            source=source,
            limit=self._limit,
            reserve=self._reserve,
        )

    def keep(self, spool: Spool, *, study_instance_uid: str | None = None) -> Kept:
        """Make the object durable and indexed, with the work that follows from it; then it may be promised.

        Parameters
        ----------
        study_instance_uid
            The only study that the object may be of; None: any.

        Raises
        ------
        RefusedInstance
            One of its subclasses says why; nothing is indexed, and the spool file is gone.
        """
        try:
            return self._keep(spool, self._identify(spool, study_instance_uid))
        finally:
            spool.discard()

    def sweep(self) -> None:
        """Remove what a crash left in this receiver's spool: nothing of it was ever promised."""
        for path in self._spool.iterdir():
            path.unlink(missing_ok=True)
            logger.info("removed an unfinished object from the spool")

    def adopt(self) -> None:
        """Index final files that have no row, while no receiver runs.

        They are complete, since they were synced before they got their names; their senders never got an answer. What
        cannot be read is put aside. Other processes may be keeping objects meanwhile: of such an object, the row that
        is committed first counts, and its file stays.

        Raises
        ------
        StartRefused
            The index knows nothing of a node that has written results: it was lost.
        """
        with self._index.read() as connection:
            lost = is_empty(connection) and any((self._root / "results").glob("*/*.dcm"))
        if lost:
            raise StartRefused("the index is empty, but data_dir holds results: it was lost; run `cmmd-node reindex`")
        for path in self.unknown_objects():
            self.adopt_object(path)

    def unknown_objects(self) -> list[Path]:
        """Final files that have no row."""
        with self._index.read() as connection:
            known = indexed_paths(connection)
        found = []
        for shard in _SHARDS:
            with os.scandir(self._root / "objects" / shard) as entries:
                names = [entry.name for entry in entries if entry.name.endswith(".dcm")]
            found += sorted(name for name in names if f"objects/{shard}/{name}" not in known)
        return [self._root / "objects" / name[:2] / name for name in found]

    def adopt_object(self, path: Path) -> bool:
        """Take in a complete file without a row; False when it cannot be read and is put aside.

        Raises
        ------
        OutOfResources
            There is no space, or no index: the file stays where it is.
        """
        try:
            found = Spool.reopen(path, self._spool / secrets.token_hex(16))
            self.keep(found)
            if self._is_indexed(found.sop_instance_uid, path):
                return True
        except FileNotFoundError:
            return False  # whoever was keeping it took it back
        except OutOfResources:
            raise
        except (RefusedInstance, InvalidDicomError, AttributeError, ValueError) as error:
            os.rename(path, self._root / "quarantine" / path.name)  # noqa: PTH104 - the random name cannot be taken
            logger.warning("put aside %s, which the index does not know: %s", path.name, type(error).__name__)
            return False
        path.unlink(missing_ok=True)
        logger.info("indexed an object that had no row: %s", found.sop_instance_uid)
        return True

    def _is_indexed(self, sop_instance_uid: str, path: Path) -> bool:
        """Whether the instance's row has this very file: its own process has committed it since we looked."""
        with self._index.read() as connection:
            row = kept_instance(connection, sop_instance_uid)
        return row is not None and self._root / row.path == path

    def _identify(self, spool: Spool, study_instance_uid: str | None) -> Identity:
        """Whose object this is, once it has been held against what its sender announced."""
        if spool.problem is not None:
            raise spool.problem
        spool.begin_sync()
        with spool.mapped() as data:
            identity = read_identity(data, spool.data_set_start, spool.transfer_syntax_uid, self._complexity)
        if identity.sop_class_uid != spool.sop_class_uid:
            raise WrongSOPClass("the data set has another SOP Class than was announced")
        if identity.sop_instance_uid != spool.sop_instance_uid:
            raise UIDMismatch("the data set has another SOP Instance UID than was announced")
        if study_instance_uid not in (None, identity.study_instance_uid):
            raise WrongStudy("the instance belongs to another study than the one it is stored into")
        if identity.trailing_bytes:
            logger.warning("%s: %d bytes after the last element", spool.sop_instance_uid, identity.trailing_bytes)
        spool.identity = identity
        return identity

    def _keep(self, spool: Spool, identity: Identity) -> Kept:
        path = f"objects/{spool.path.name[:2]}/{spool.path.name}.dcm"
        final = self._root / path
        self._sync_and_rename(spool, final)
        try:
            self._commit(path, spool, identity)
        except IntegrityError:
            return self._compare_with_kept(final, spool)
        except DBAPIError as error:
            self._remove_unless_indexed(final, spool.sop_instance_uid)
            raise _index_unavailable(error) from error
        except BaseException:
            self._remove_unless_indexed(final, spool.sop_instance_uid)
            raise
        return Kept.NEW

    def _commit(self, path: str, spool: Spool, identity: Identity) -> None:
        """One transaction: the row, with the file's path below data_dir, and the durable work that follows from it."""
        new = NewInstance(
            sop_instance_uid=identity.sop_instance_uid,
            sop_class_uid=identity.sop_class_uid,
            transfer_syntax_uid=spool.transfer_syntax_uid,
            study_instance_uid=identity.study_instance_uid,
            series_instance_uid=identity.series_instance_uid,
            patient_id=identity.patient_id,
            patient_name=identity.patient_name,
            patient_birth_date=identity.patient_birth_date,
            path=path,
            size_bytes=spool.size_bytes,
            digest=spool.digest,
            source=spool.source,
        )

        def record(connection: Connection) -> None:
            number = record_instance(connection, new)
            if number is not None:
                enqueue_round(self._client, connection, new.study_instance_uid, number)

        self._index.write_together(record)

    def _compare_with_kept(self, final: Path, spool: Spool) -> Kept:
        """The SOP Instance UID has a row already: of an object that came before, or of a twin that was faster."""
        with self._index.read() as connection:
            kept = kept_instance(connection, spool.sop_instance_uid)
        try:
            os.rename(final, spool.path)  # noqa: PTH104 - back to the spool, since it may be nothing new
        except FileNotFoundError:
            logger.info("%s: a receiver that was starting has taken the file over", spool.sop_instance_uid)
        if kept is None:
            raise OutOfResources("the index refused the object's row")
        return self._compare(kept, spool)

    def _remove_unless_indexed(self, final: Path, sop_instance_uid: str) -> None:
        """After a failed commit: it may have failed on the way back only, then the row is there and the file stays."""
        try:
            with self._index.read() as connection:
                row = kept_instance(connection, sop_instance_uid)
        except DBAPIError:
            return  # nobody knows: the next start's sweep does
        if row is None or self._root / row.path != final:
            final.unlink(missing_ok=True)

    def _compare(self, before: KeptInstance, spool: Spool) -> Kept:
        """Same bytes: a success without new work. Other bytes: refused, and kept aside."""
        if before.digest == spool.digest:
            path = self._root / before.path
            if not path.is_file() or path.stat().st_size != before.size_bytes:
                raise OutOfResources("the object that came before is damaged; an operator must look")
            if before.source == PRIOR_SOURCE != spool.source:
                self._take_up_prior(spool)
            return Kept.REPEAT
        aside = self._root / "quarantine" / f"{spool.path.name}.dcm"
        self._sync_and_rename(spool, aside)
        try:
            with self._index.write() as connection:
                record_collision(
                    connection,
                    path=str(aside.relative_to(self._root)),
                    sop_instance_uid=spool.sop_instance_uid,
                    digest=spool.digest,
                    source=spool.source,
                )
        except DBAPIError as error:
            raise _index_unavailable(error) from error
        raise InstanceCollision("the SOP Instance UID is already kept with other bytes")

    def _take_up_prior(self, spool: Spool) -> None:
        """What was a prior until now is sent as an exam, which gets its answer."""
        try:
            with self._index.write() as connection:
                opened = take_up_prior(connection, spool.sop_instance_uid, spool.source)
                if opened is not None:
                    enqueue_round(self._client, connection, *opened)
        except DBAPIError as error:
            raise _index_unavailable(error) from error

    def _sync_and_rename(self, spool: Spool, final: Path) -> None:
        try:
            spool.sync()
            os.rename(spool.path, final)  # noqa: PTH104 - the random name cannot be taken
            sync_directory(final.parent)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                # After a failed sync the kernel may call the same pages clean: nothing here can be promised any more.
                self._broken = f"the store failed ({error.strerror}); restart the node when the disk is sound"
                logger.exception("the store failed; no objects are taken until the node is restarted")
            final.unlink(missing_ok=True)
            raise OutOfResources(f"the object cannot be made durable: {error.strerror}") from error


def _index_unavailable(error: DBAPIError) -> OutOfResources:
    return OutOfResources(f"the index is not available: {type(error.orig).__name__}")


def _part10_header(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source: str) -> bytes:
    """Preamble, prefix and File Meta Information (PS3.10 7.1); it tells the sender to whoever finds the file."""
    elements = struct.pack("<HH2sxxI2s", 2, 1, b"OB", 2, b"\0\1")  # File Meta Information Version
    elements += _meta_element(0x0002, b"UI", sop_class_uid)
    elements += _meta_element(0x0003, b"UI", sop_instance_uid)
    elements += _meta_element(0x0010, b"UI", transfer_syntax_uid)
    elements += _meta_element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID)
    elements += _meta_element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME)
    if source.isascii() and source.isprintable() and len(source) <= 16:  # else it is no AE title, and kept out
        elements += _meta_element(0x0016, b"AE", source)
    return b"\0" * 128 + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(elements)) + elements


def _meta_element(number: int, vr: bytes, text: str) -> bytes:
    """One element of group 0002 in Explicit VR Little Endian (PS3.5 7.1.2); pydicom's writer takes a millisecond."""
    value = text.encode("ascii")
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value


def _write_all(file: int, data: bytes | bytearray | memoryview) -> None:
    written = os.write(file, data)
    while written < len(data):
        written += os.write(file, memoryview(data)[written:])
