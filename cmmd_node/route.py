"""The route of a study, from its images to its answer: the only place that knows all steps.

Three durable workflows. `StudyRoute.follow` takes one round of a study through settle, analyse and write;
`StudyRoute.deliver` brings the results of a round to one peer; `StudyRoute.vouch` answers a peer that asked for storage
commitment. Each step stores its outcome in the index, so that a step that runs twice after a crash
leaves what one run would have left.

`analyze` is the same route without network and index, for files.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pydicom.config
from dbos import DBOS, DBOSClient
from pydicom.dataset import Dataset
from sqlalchemy.exc import DBAPIError

from cmmd_node.assemble.pixels import read_pixels
from cmmd_node.assemble.settle import settled_at_ms
from cmmd_node.assemble.sides import side_warning
from cmmd_node.assemble.views import mammogram_of, read_header, view_of
from cmmd_node.cad import Detector, model_of, open_detector
from cmmd_node.cad.geometry import breast_geometry, collocations, geometry_model
from cmmd_node.cad.isolation import IsolatedPool, Lost
from cmmd_node.deliver import Outgoing, Verdict, report_commitment, retry_after_seconds, send_to, verdict_of
from cmmd_node.errors import BundleRefused, InvalidResult, ModelFault, NotAnalysed, PeerFailed, PeerRefused
from cmmd_node.facts import (
    USUAL_FORMS,
    Analysis,
    Codes,
    Finding,
    Form,
    Mammogram,
    Mark,
    Model,
    Round,
    StudyResult,
    View,
    ViewResult,
    ViewStatus,
)
from cmmd_node.index import Index, commitments, now_ms, rounds
from cmmd_node.index import deliveries as parcels
from cmmd_node.index.tables import CommitmentState, DeliveryState, RoundState
from cmmd_node.index.work import (
    COMMITMENT_QUEUE,
    COMMITMENT_WORKFLOW,
    DELIVERY_QUEUE,
    DELIVERY_WORKFLOW,
    STUDY_QUEUE,
    STUDY_WORKFLOW,
)
from cmmd_node.receive.commitment import judge, result_of
from cmmd_node.receive.scp import STORAGE_CLASSES
from cmmd_node.report import Place, ResultObject, with_findings, write_results
from cmmd_node.settings import BUILTIN, CHECK_AE_TITLE, DicomwebSettings, PeerSettings, Settings
from cmmd_node.tls import to_peer

logger = logging.getLogger(__name__)

# Process-wide: headers are judged by us; pydicom's warnings would print the values that it doubts, names included.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

Returned = TypeVar("Returned")

#: How often a settling exam is looked at.
_LOOK_SECONDS = 0.2
#: Studies that settle or wait for the CAD at once, each a thread; more wait in the queue.
_STUDIES_AT_ONCE = 100
#: Deliveries to one peer at once, each a thread that mostly sleeps; a dead peer holds up no other.
_DELIVERIES_AT_ONCE = 8
_POLL_SECONDS = 0.25
#: A step that fails for the database's or the disk's sake is tried for about a day before its round fails.
_DATABASE_ATTEMPTS = 40
#: Crashes of the worker do not count against a workflow: what crashes runs in children.
_RECOVERIES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageJob:
    """One image to analyse."""

    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    threshold: float | None
    bundle: str = BUILTIN
    digest: str | None = None
    """Of the model for which the result will speak; None: whichever the bundle holds."""
    analyses: tuple[Analysis, ...] = (Analysis.DETECTION,)


@dataclass(frozen=True, slots=True)
class ImageAnswer:
    """What one image has shown by itself; the marks get their identity from the whole study."""

    view: ViewResult
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """One image of a study, and what is known of it should its file be unreadable."""

    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteJob:
    """One study whose results are to be written; headers come from the files."""

    result: StudyResult
    files: tuple[ImageFile, ...]
    round_: Round
    forms: Mapping[Codes, frozenset[Form]] = field(default_factory=lambda: {Codes.SCT: frozenset(USUAL_FORMS)})
    """What to write with which codes, besides the CAD SR, which is always written."""


@cache
def detector(bundle: str = BUILTIN) -> Detector:
    """The detector of this process."""
    return open_detector(bundle)


def load_detector(bundle: str) -> None:
    """Make a child process ready before its first image."""
    detector(bundle)


def prove_detector(pool: IsolatedPool, bundle: str, *, seconds: float) -> None:
    """Open a bundle in a child process and let it repeat its golden marks.

    Raises
    ------
    BundleRefused
        It cannot be used.
    """
    (lost,) = pool.map(load_detector, [bundle], seconds=seconds)
    if isinstance(lost, Lost):
        raise BundleRefused(f"model bundle {bundle}: it cannot be opened: {lost.reason}")


def analyse_image(job: ImageJob) -> ImageAnswer:
    """Header, view, pixels, marks and breast of one image; runs in a child process."""
    view: View | None = None
    try:
        header = read_header(job.path)
        view = view_of(header)
        mammogram = mammogram_of(header)
        pixels = read_pixels(job.path)
        marks = _marks(job, pixels, mammogram)
        breast = breast_geometry(pixels, view=mammogram.view, spacing=mammogram.spacing)
    except NotAnalysed as reason:
        return _without_marks(job, view, ViewStatus.NOT_ANALYSED, str(reason))
    except (ModelFault, BundleRefused) as fault:
        logger.error("%s: %s", job.sop_instance_uid, fault)  # noqa: TRY400 - the sentence says it all
        return _without_marks(job, view, ViewStatus.FAILED, str(fault))
    except Exception as error:  # the catch-all around one image: it costs this image only
        logger.exception("%s: analysis failed", job.sop_instance_uid)
        return _without_marks(job, view, ViewStatus.FAILED, f"the analysis failed ({type(error).__name__})")
    analysed = ViewResult(
        sop_instance_uid=job.sop_instance_uid,
        sop_class_uid=job.sop_class_uid,
        view=mammogram.view,
        status=ViewStatus.ANALYSED,
        reason=None,
        remark=side_warning(header, pixels),
        spacing=mammogram.spacing,
        breast=breast,
    )
    return ImageAnswer(analysed, marks)


def _marks(job: ImageJob, pixels: npt.NDArray[np.float32], mammogram: Mammogram) -> tuple[Mark, ...]:
    """What the model says, and of that what was asked for."""
    speaker = detector(job.bundle)
    if job.digest not in (None, speaker.model.digest):
        raise ModelFault(f"model {speaker.model.name}: its bundle has changed since the node started; start it anew")
    marks = speaker.marks(pixels, view=mammogram.view, spacing=mammogram.spacing, threshold=job.threshold)
    if Analysis.CHARACTERISATION in job.analyses:
        return marks
    return tuple(replace(mark, probability_malignant=None) for mark in marks)


def write_study(job: WriteJob) -> list[ResultObject]:
    """The checked result objects of one study, none of them twice; runs in a child process."""
    headers = [_header(file, job.result.study_instance_uid) for file in job.files]
    paths = {file.sop_instance_uid: file.path for file in job.files}
    objects: dict[str, ResultObject] = {}
    for codes, forms in job.forms.items():
        written = write_results(
            job.result, headers, job.round_, forms=forms, codes=codes, pixels=lambda uid: _pixels_again(paths[uid])
        )
        objects |= {one.sop_instance_uid: one for one in written}
    return list(objects.values())


def analyse_study(
    pool: IsolatedPool,
    model: Model,
    round_: Round,
    jobs: Sequence[ImageJob],
    *,
    earlier: Sequence[Finding] = (),
    seconds: float,
) -> StudyResult:
    """All images of one study, in child processes; a crash or a missed deadline costs that image only.

    Then the marks that are one lesion are put together, and those of the round before are recognised.
    """
    answers = [
        _without_marks(job, None, ViewStatus.FAILED, f"the analysis failed: {found.reason}")
        if isinstance(found, Lost)
        else found
        for job, found in zip(jobs, pool.map(analyse_image, jobs, seconds=seconds), strict=True)
    ]
    views, marks = tuple(one.view for one in answers), [one.marks for one in answers]
    alone = StudyResult(
        study_instance_uid=round_.study_instance_uid, model=model, views=views, geometry=geometry_model()
    )
    pairs = []
    for cc, mlo in alone.collocated:
        first, second = views.index(cc), views.index(mlo)
        pairs += [
            (Place(first, one), Place(second, other))
            for one, other in collocations(cc, marks[first], mlo, marks[second])
        ]
    return replace(alone, views=with_findings(round_, views, marks, pairs=pairs, earlier=earlier))


def write_analysed_study(pool: IsolatedPool, job: WriteJob, *, seconds: float) -> list[ResultObject]:
    """The result objects of one study.

    Raises
    ------
    InvalidResult
        An object does not pass the check, or none could be written.
    """
    (written,) = pool.map(write_study, [job], seconds=seconds)
    if isinstance(written, Lost):
        raise InvalidResult(f"the results cannot be written: {written.reason}")
    return written


class StudyRoute:
    """The durable workflows of one worker process."""

    def __init__(self, settings: Settings, index: Index, client: DBOSClient, pool: IsolatedPool, node_uid: str) -> None:
        self._settings = settings
        self._root = settings.node.data_dir.absolute()
        self._index = index
        self._client = client
        self._pool = pool
        self._node_uid = node_uid
        self.model = model_of(settings.cad.bundle)

    def register(self) -> None:
        """Name the workflows to DBOS, before it is launched."""
        DBOS.workflow(name=STUDY_WORKFLOW, max_recovery_attempts=_RECOVERIES)(_named(self.follow, STUDY_WORKFLOW))
        DBOS.workflow(name=DELIVERY_WORKFLOW, max_recovery_attempts=_RECOVERIES)(
            _named(self.deliver, DELIVERY_WORKFLOW)
        )
        DBOS.workflow(name=COMMITMENT_WORKFLOW, max_recovery_attempts=_RECOVERIES)(
            _named(self.vouch, COMMITMENT_WORKFLOW)
        )

    def listen(self) -> None:
        """Take work from the queues, once DBOS is launched."""
        DBOS.register_queue(
            STUDY_QUEUE,
            worker_concurrency=_STUDIES_AT_ONCE,
            polling_interval_sec=_POLL_SECONDS,
            on_conflict="always_update",
        )
        for queue in (DELIVERY_QUEUE, COMMITMENT_QUEUE):
            DBOS.register_queue(
                queue,
                partition_worker_concurrency=_DELIVERIES_AT_ONCE,
                polling_interval_sec=_POLL_SECONDS,
                on_conflict="always_update",
            )

    def follow(self, study_instance_uid: str, number: int) -> None:
        """Take one round of a study along the route."""
        try:
            state = _step("settle", self._settle, study_instance_uid, number)
            if state is RoundState.STOPPED:
                return
            _step("analyse", self._analyse, study_instance_uid, number)
            _step("write", self._write, study_instance_uid, number)
        except Exception as error:  # the catch-all around one job: the round ends visibly, whatever happened
            logger.exception("study %s round %d failed", study_instance_uid, number)
            reason = str(error) if isinstance(error, InvalidResult) else f"unexpected {type(error).__name__}"
            _step("fail", self._fail, study_instance_uid, number, reason)

    def deliver(self, delivery_id: int, turn: int) -> None:
        """Bring the results of one round to one peer, however long it takes, until they are stored or given up."""
        try:
            while True:
                wait_seconds = _step("send", self._send, delivery_id, turn)
                if wait_seconds is None:
                    return
                DBOS.sleep(wait_seconds)
        except Exception as error:  # the catch-all around one job: the delivery ends visibly, whatever happened
            logger.exception("delivery %d failed", delivery_id)
            _step("give up", self._end, delivery_id, DeliveryState.DEAD, f"unexpected {type(error).__name__}")

    def vouch(self, commitment_id: int) -> None:
        """Judge a storage commitment transaction and tell the peer that asked, until it has heard or is given up."""
        try:
            while True:
                wait_seconds = _step("report", self._report, commitment_id)
                if wait_seconds is None:
                    return
                DBOS.sleep(wait_seconds)
        except Exception as error:  # the catch-all around one job: the transaction ends visibly, whatever happened
            logger.exception("storage commitment %d failed", commitment_id)
            _step("give up", self._end_commitment, commitment_id, CommitmentState.DEAD, type(error).__name__)

    def _settle(self, study_instance_uid: str, number: int) -> RoundState:
        """Wait until the exam is complete or quiet, then close the round."""
        views: dict[str, View | None] = {}
        while True:
            with self._index.read() as connection:
                now = rounds.arrivals(connection, study_instance_uid, number)
            if now.state is not RoundState.SETTLING:
                return now.state
            for path in now.paths:
                if path not in views:
                    views[path] = _view_of_file(self._root / path)
            settled_ms = settled_at_ms(
                {view for view in views.values() if view is not None},
                first_received_ms=now.first_received_ms,
                last_received_ms=now.last_received_ms,
                settings=self._settings.settle,
            )
            wait_ms = settled_ms - now_ms()
            if wait_ms > 0:
                time.sleep(min(wait_ms / 1000, _LOOK_SECONDS))
                continue
            with self._index.write() as connection:
                rounds.close_round(
                    connection,
                    study_instance_uid,
                    number,
                    last_received_ms=now.last_received_ms,
                    created=datetime.now().replace(microsecond=0),  # noqa: DTZ005 - DICOM times are local
                )

    def _analyse(self, study_instance_uid: str, number: int) -> None:
        """Select views, read pixels, run the model; the outcome of each image is stored."""
        with self._index.read() as connection:
            images = rounds.study_images(connection, study_instance_uid, number)
            round_ = rounds.round_facts(connection, study_instance_uid, number, self._node_uid)
            earlier = rounds.earlier_findings(connection, study_instance_uid, number)
        analysed = analyse_study(
            self._pool,
            self.model,
            round_,
            [
                ImageJob(
                    path=self._root / image.path,
                    sop_instance_uid=image.sop_instance_uid,
                    sop_class_uid=image.sop_class_uid,
                    threshold=self._settings.cad.threshold,
                    bundle=self._settings.cad.bundle,
                    digest=self.model.digest,
                    analyses=self._settings.cad.analyses,
                )
                for image in images
            ],
            earlier=earlier,
            seconds=self._settings.cad.view_seconds,
        )
        with self._index.write() as connection:
            rounds.record_analysis(connection, number, analysed)
        logger.info(
            "study %s round %d: %s, %d findings on %d images, %s %s",
            study_instance_uid,
            number,
            analysed.outcome,
            len(analysed.findings),
            len(images),
            analysed.model.name,
            analysed.model.version,
        )

    def _write(self, study_instance_uid: str, number: int) -> None:
        """Write the result objects to disk; their rows and a delivery for each peer are one with the answer."""
        with self._index.read() as connection:
            images = rounds.study_images(connection, study_instance_uid, number)
            round_ = rounds.round_facts(connection, study_instance_uid, number, self._node_uid)
            recorded = rounds.recorded_analysis(connection, study_instance_uid, number)
            source = rounds.round_source(connection, study_instance_uid, number)
        analysed = replace(recorded, geometry=geometry_model())
        objects = write_analysed_study(
            self._pool,
            WriteJob(
                result=analysed,
                files=tuple(
                    ImageFile(
                        path=self._root / image.path,
                        sop_instance_uid=image.sop_instance_uid,
                        sop_class_uid=image.sop_class_uid,
                        series_instance_uid=image.series_instance_uid,
                    )
                    for image in images
                ),
                round_=round_,
                forms=self._wanted_forms(source),
            ),
            seconds=self._settings.cad.view_seconds,
        )
        written = [self._keep_result(one) for one in objects]
        give_up_ms = now_ms() + round(self._settings.deliver.give_up_hours * 3_600_000)
        with self._index.write() as connection:
            rounds.record_answer(connection, study_instance_uid, number, analysed.outcome, written)
            for peer in self._destinations(source):
                parcels.create_delivery(
                    connection, self._client, study_instance_uid, number, peer.name, give_up_ms=give_up_ms
                )

    def _keep_result(self, one: ResultObject) -> rounds.WrittenResult:
        """A result on disk, durable; its name says nothing that a peer could have chosen."""
        digest = hashlib.sha256(one.data).hexdigest()
        path = self._root / "results" / digest[:2] / f"{digest}.dcm"
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        with draft.open("wb") as file:
            file.write(one.data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return rounds.WrittenResult(
            sop_instance_uid=one.sop_instance_uid,
            sop_class_uid=one.sop_class_uid,
            series_instance_uid=one.series_instance_uid,
            form=one.form,
            codes=one.codes,
            path=str(path.relative_to(self._root)),
            size_bytes=len(one.data),
            digest=digest,
        )

    def _destinations(self, source: str) -> tuple[PeerSettings | DicomwebSettings, ...]:
        """All peers and archives with results; the exams of the node's own check go back to it alone."""
        if source == CHECK_AE_TITLE:
            return (self._settings.check_peer,)
        everybody: tuple[PeerSettings | DicomwebSettings, ...] = (*self._settings.peer, *self._settings.dicomweb)
        return tuple(one for one in everybody if one.results)

    def _wanted_forms(self, source: str) -> dict[Codes, frozenset[Form]]:
        """What the peers want of an exam, with which codes; the answer is written even if nobody wants it."""
        peers = self._destinations(source)
        return {
            codes: frozenset(form for peer in peers if peer.codes is codes for form in peer.results)
            for codes in sorted({peer.codes for peer in peers} or {Codes.SCT})
        }

    def _fail(self, study_instance_uid: str, number: int, reason: str) -> None:
        with self._index.write() as connection:
            rounds.record_failure(connection, study_instance_uid, number, reason)

    def _send(self, delivery_id: int, turn: int) -> float | None:
        """One attempt; seconds to wait before the next, None when there is none."""
        with self._index.read() as connection:
            delivery = parcels.find_delivery(connection, delivery_id)
            if delivery is None or delivery.turn != turn or delivery.state is not DeliveryState.WAITING:
                return None
            peer = self._settings.destination_named(delivery.peer)
            waiting = parcels.unanswered_parcels(connection, delivery, peer.results, peer.codes) if peer else ()
        state, problem, asked_to_wait = DeliveryState.WAITING, None, 0.0
        if peer is None or not peer.can_be_sent_to:
            state, problem = DeliveryState.DEAD, f"{delivery.peer} is no longer configured for results"
        else:
            try:
                problem = self._send_parcels(delivery, peer, waiting) if waiting else None
            except PeerRefused as error:
                state, problem = DeliveryState.DEAD, str(error)
            except PeerFailed as error:
                problem, asked_to_wait = str(error), error.retry_after_seconds or 0.0
            with self._index.read() as connection:
                left = parcels.unanswered_parcels(connection, delivery, peer.results, peer.codes)
                refused = parcels.refused_parcels(connection, delivery_id)
            if not left:
                state = DeliveryState.DEAD if refused else DeliveryState.DELIVERED
                problem = problem or (f"{refused} results were refused" if refused else None)
            elif now_ms() >= delivery.give_up_ms:
                state, problem = DeliveryState.DEAD, f"given up: {problem}"
        if state is not DeliveryState.WAITING:
            self._end(delivery_id, state, problem)
            return None
        with self._index.write() as connection:
            parcels.record_attempt(connection, delivery_id, state, problem)
        logger.warning("delivery %d to %s: %s; will be tried again", delivery_id, delivery.peer, problem)
        return max(self._pause(delivery.attempts), min(asked_to_wait, self._settings.deliver.retry_limit_seconds))

    def _send_parcels(
        self, delivery: parcels.Delivery, peer: PeerSettings | DicomwebSettings, waiting: Sequence[parcels.Parcel]
    ) -> str | None:
        """Send what is left and store each final answer as it comes; the last problem, if there was one."""
        problem = None
        outgoing = [Outgoing.from_file(self._root / parcel.path) for parcel in waiting]
        for answer in send_to(self._settings, peer, outgoing):
            verdict = Verdict.REFUSED if answer.status is None else verdict_of(answer.status)
            if verdict is not Verdict.STORED:
                problem = f"{peer.name}: {answer.problem}"
            if verdict is not Verdict.TRY_AGAIN:
                with self._index.write() as connection:
                    parcels.record_parcel(
                        connection,
                        delivery.id,
                        answer.outgoing.sop_instance_uid,
                        stored=verdict is Verdict.STORED,
                    )
        return problem

    def _end(self, delivery_id: int, state: DeliveryState, problem: str | None) -> None:
        with self._index.write() as connection:
            parcels.record_attempt(connection, delivery_id, state, problem)
        if state is DeliveryState.DELIVERED:
            logger.info("delivery %d is done", delivery_id)
        else:
            logger.error("delivery %d is dead: %s", delivery_id, problem)

    def _report(self, commitment_id: int) -> float | None:
        """One attempt; what is vouched for is judged anew each time. Seconds to the next, None when there is none."""
        with self._index.read() as connection:
            one = commitments.find_commitment(connection, commitment_id)
        if one is None or one.state is not CommitmentState.WAITING:
            return None
        peer = self._settings.peer_named(one.peer)
        if peer is None or not peer.port:
            self._end_commitment(commitment_id, CommitmentState.DEAD, f"{one.peer} is no longer configured")
            return None
        event_type, result = result_of(one, judge(one, self._index, self._root, STORAGE_CLASSES))
        try:
            report_commitment(
                event_type,
                result,
                host=peer.host,
                port=peer.port,
                called_ae_title=peer.ae_title,
                calling_ae_title=self._settings.node.ae_title,
                tls=to_peer(self._settings, peer),
            )
        except PeerFailed as error:
            if now_ms() >= one.give_up_ms:
                self._end_commitment(commitment_id, CommitmentState.DEAD, f"given up: {error}")
                return None
            with self._index.write() as connection:
                commitments.record_report(connection, commitment_id, CommitmentState.WAITING, str(error))
            logger.warning("storage commitment %d: %s; will be tried again", commitment_id, error)
            return self._pause(one.attempts)
        self._end_commitment(commitment_id, CommitmentState.REPORTED, None)
        return None

    def _end_commitment(self, commitment_id: int, state: CommitmentState, problem: str | None) -> None:
        with self._index.write() as connection:
            commitments.record_report(connection, commitment_id, state, problem)
        if state is CommitmentState.REPORTED:
            logger.info("storage commitment %d is reported", commitment_id)
        else:
            logger.error("storage commitment %d is dead: %s", commitment_id, problem)

    def _pause(self, attempts: int) -> float:
        return retry_after_seconds(
            attempts,
            first_seconds=self._settings.deliver.retry_seconds,
            limit_seconds=self._settings.deliver.retry_limit_seconds,
        )


def _step(name: str, function: Callable[..., Returned], *arguments: Any) -> Returned:
    """One durable step; while the database is away or the disk is full it is tried again."""
    return DBOS.run_step(
        {
            "name": name,
            "retries_allowed": True,
            "max_attempts": _DATABASE_ATTEMPTS,
            "interval_seconds": 1.0,
            "backoff_rate": 1.5,
            "should_retry": _may_pass,
        },
        function,
        *arguments,
    )


def _may_pass(error: BaseException) -> bool:
    """Whether an operator is likely to mend it while we wait."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or isinstance(error, DBAPIError)


def _named(function: Callable[..., None], name: str) -> Callable[..., None]:
    """A plain function for DBOS, which cannot name bound methods."""

    def workflow(*arguments: Any) -> None:
        function(*arguments)

    workflow.__qualname__ = name
    return workflow


def _without_marks(job: ImageJob, view: View | None, status: ViewStatus, reason: str) -> ImageAnswer:
    return ImageAnswer(
        ViewResult(
            sop_instance_uid=job.sop_instance_uid,
            sop_class_uid=job.sop_class_uid,
            view=view,
            status=status,
            reason=reason,
        )
    )


def _view_of_file(path: Path) -> View | None:
    try:
        return view_of(read_header(path))
    except NotAnalysed:
        return None


def _pixels_again(path: Path) -> npt.NDArray[np.float32]:
    """The pixels of an image that was analysed before."""
    try:
        return read_pixels(path)
    except NotAnalysed as error:
        raise InvalidResult(f"an image with findings can no longer be read: {error}") from error


def _header(file: ImageFile, study_instance_uid: str) -> Dataset:
    """The header for the results; of an unreadable file only what is known without it."""
    try:
        return read_header(file.path)
    except NotAnalysed:
        ds = Dataset()
        ds.SOPClassUID = file.sop_class_uid
        ds.SOPInstanceUID = file.sop_instance_uid
        ds.SeriesInstanceUID = file.series_instance_uid
        ds.StudyInstanceUID = study_instance_uid
        return ds
