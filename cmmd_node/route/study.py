"""The route of a study, from its images to its answer: settle, analyse, write; then a delivery for each peer."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from dbos import DBOSClient

from cmmd_node.assemble.settle import settled_at_ms
from cmmd_node.assemble.views import read_header, view_of
from cmmd_node.cad import both_views_of, model_of
from cmmd_node.cad.geometry import geometry_model
from cmmd_node.errors import InvalidResult, NotAnalysed
from cmmd_node.facts import Codes, Form, View
from cmmd_node.index import Index, now_ms, priors, rounds
from cmmd_node.index import deliveries as parcels
from cmmd_node.index.tables import RoundState
from cmmd_node.index.work import STUDY_QUEUE, STUDY_WORKFLOW
from cmmd_node.isolation import IsolatedPool
from cmmd_node.receive.filesystem import sync_directory
from cmmd_node.report import ResultObject
from cmmd_node.route.analysis import ImageFile, ImageJob, WriteJob, analyse_study, write_analysed_study
from cmmd_node.route.durable import listen_to, register, step
from cmmd_node.settings import CHECK_AE_TITLE, DicomwebSettings, PeerSettings, Settings

logger = logging.getLogger(__name__)

#: How often a settling exam is looked at.
_LOOK_SECONDS = 0.2
#: Studies that settle or wait for the CAD at once, each a thread; more wait in the queue.
_STUDIES_AT_ONCE = 100


class StudyRoute:
    """The durable workflow of a round of a study."""

    def __init__(self, settings: Settings, index: Index, client: DBOSClient, pool: IsolatedPool, node_uid: str) -> None:
        self._settings = settings
        self._root = settings.node.data_dir.absolute()
        self._index = index
        self._client = client
        self._pool = pool
        self._node_uid = node_uid
        self.model = model_of(settings.cad.bundle)
        self._both_views = both_views_of(settings.cad.bundle)

    def register(self) -> None:
        """Name the workflow to DBOS, before it is launched."""
        register(STUDY_WORKFLOW, self.follow)

    def listen(self) -> None:
        """Take work from the queue, once DBOS is launched."""
        listen_to(STUDY_QUEUE, at_once=_STUDIES_AT_ONCE)

    def follow(self, study_instance_uid: str, number: int) -> None:
        """Take one round of a study along the route."""
        try:
            state = step("settle", self._settle, study_instance_uid, number)
            if state is RoundState.STOPPED:
                return
            step("analyse", self._analyse, study_instance_uid, number)
            step("write", self._write, study_instance_uid, number)
        except Exception as error:  # the catch-all around one job: the round ends visibly, whatever happened
            logger.exception("study %s round %d failed", study_instance_uid, number)
            reason = str(error) if isinstance(error, InvalidResult) else f"unexpected {type(error).__name__}"
            step("fail", self._fail, study_instance_uid, number, reason)

    def _settle(self, study_instance_uid: str, number: int) -> RoundState:
        """Let its priors be looked for, wait until the exam is complete or quiet, then close the round."""
        self._look_for_priors(study_instance_uid, number)
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

    def _look_for_priors(self, study_instance_uid: str, number: int) -> None:
        """Work of its own on a queue of its own: this route never hears of it again."""
        if not self._settings.priors.source:
            return
        give_up_ms = now_ms() + round(1000 * self._settings.priors.limit_seconds)
        with self._index.write() as connection:
            if rounds.round_source(connection, study_instance_uid, number) != CHECK_AE_TITLE:
                priors.create_search(connection, self._client, study_instance_uid, give_up_ms=give_up_ms)

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
            both_views=self._both_views,
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
        sync_directory(path.parent)
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


def _view_of_file(path: Path) -> View | None:
    try:
        return view_of(read_header(path))
    except NotAnalysed:
        return None
