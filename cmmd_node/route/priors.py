"""Priors: earlier mammograms of the patient of an exam, fetched beside its route and never waited for.

They come by C-GET or WADO-RS, so that the node knows them as what they are: kept, found and handed out as all images
are, but in a round of their own that nobody analyses. A study that is sent or pulled later is an exam as any other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TypeVar

from dbos import DBOSClient
from pydicom.dataset import Dataset

from cmmd_node.assemble.views import read_header
from cmmd_node.errors import (
    NodeError,
    NotAnalysed,
    NotAPrior,
    OutOfResources,
    PeerFailed,
    PeerRefused,
    UnreadableInstance,
)
from cmmd_node.index import Index, now_ms
from cmmd_node.index import priors as searches
from cmmd_node.index.holdings import kept_of_series
from cmmd_node.index.intake import is_exam
from cmmd_node.index.tables import PriorsState
from cmmd_node.index.work import PRIORS_QUEUE, PRIORS_WORKFLOW
from cmmd_node.receive.inbox import Inbox
from cmmd_node.receive.part10 import take_in
from cmmd_node.retrieve import FoundSeries, Patient, Problem, Source, Wanted
from cmmd_node.route.durable import listen_to, pause_seconds, register, try_until_over
from cmmd_node.route.sources import source_named
from cmmd_node.settings import PRIOR_SOURCE, PriorsSettings, Settings

logger = logging.getLogger(__name__)

Thing = TypeVar("Thing")

#: Exams whose priors are fetched at once.
_SEARCHES_AT_ONCE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentExam:
    """What an exam says that its priors are looked for with."""

    study_instance_uid: str
    patient: Patient
    study_date: date

    @classmethod
    def from_dataset(cls, ds: Dataset) -> CurrentExam:
        """The exam that an image is of.

        Raises
        ------
        NodeError
            It does not say whose, or of which day it is: nothing can be a prior of it.
        """
        patient = Patient.from_dataset(ds)
        if not patient.patient_id:
            raise NodeError("the exam has no Patient ID")
        try:
            day = date.fromisoformat(str(ds.get("StudyDate", "") or ""))
        except ValueError:
            raise NodeError("the exam has no Study Date that can be read") from None
        return cls(study_instance_uid=str(ds.StudyInstanceUID), patient=patient, study_date=day)

    def wanted(self, bounds: PriorsSettings) -> Wanted:
        """Mammograms of the days before the exam, as far back as the bounds allow."""
        last = self.study_date - timedelta(days=1)
        day = self.study_date.day - (self.study_date.month == 2 and self.study_date.day == 29)
        first = self.study_date.replace(year=self.study_date.year - bounds.years, day=day)
        return Wanted(
            patient_id=self.patient.patient_id,
            study_date=f"{first:%Y%m%d}-{last:%Y%m%d}",
            with_issuer=bool(self.patient.issuer_of_patient_id),
        )


def choose_priors(exam: CurrentExam, found: Iterable[FoundSeries], bounds: PriorsSettings) -> list[list[FoundSeries]]:
    """The series of the latest earlier studies of the same patient; archives may answer with more."""
    first, last = exam.wanted(bounds).study_date.split("-")
    studies: dict[str, list[FoundSeries]] = {}
    for series in found:
        if first <= series.study_date <= last and not series.patient.contradicts(exam.patient):
            studies.setdefault(series.study_instance_uid, []).append(series)
    studies.pop(exam.study_instance_uid, None)
    latest = sorted(studies.values(), key=lambda one: (one[0].study_date, one[0].study_instance_uid), reverse=True)
    return latest[: bounds.studies]


class PriorsRoute:
    """The durable workflow of the search for the priors of an exam."""

    def __init__(self, settings: Settings, index: Index, client: DBOSClient) -> None:
        self._settings = settings
        self._root = settings.node.data_dir.absolute()
        self._index = index
        self._inbox = Inbox(settings, index, client, name="priors")
        self._inbox.sweep()

    def register(self) -> None:
        """Name the workflow to DBOS, before it is launched."""
        register(PRIORS_WORKFLOW, self.look)

    def listen(self) -> None:
        """Take work from the queue, once DBOS is launched."""
        listen_to(PRIORS_QUEUE, at_once=_SEARCHES_AT_ONCE)

    def look(self, study_instance_uid: str) -> None:
        """Fetch the priors of one exam, or give up in time."""
        try_until_over(
            "fetch priors",
            self._attempt,
            study_instance_uid,
            give_up=lambda problem: self._end(study_instance_uid, PriorsState.DEAD, problem=problem),
        )

    def _attempt(self, study_instance_uid: str) -> float | None:
        """One attempt; what it brought stays. Seconds to the next, None when there is none."""
        with self._index.read() as connection:
            search = searches.find_search(connection, study_instance_uid)
        if search.state is not PriorsState.WAITING:
            return None
        try:
            studies, images, problem = self._fetch(search)
        except PeerFailed as error:
            wait_seconds = max(pause_seconds(self._settings, search.attempts), error.retry_after_seconds or 0.0)
            if not isinstance(error, PeerRefused) and now_ms() + 1000 * wait_seconds < search.give_up_ms:
                with self._index.write() as connection:
                    searches.record_search(connection, study_instance_uid, search.state, problem=str(error))
                return wait_seconds
            self._end(study_instance_uid, PriorsState.DEAD, problem=str(error))
        except NodeError as error:
            self._end(study_instance_uid, PriorsState.DEAD, problem=str(error))
        else:
            state = PriorsState.DEAD if problem else PriorsState.FETCHED
            self._end(study_instance_uid, state, problem=problem, studies=studies, images=images)
        return None

    def _fetch(self, search: searches.PriorSearch) -> tuple[int, int, str | None]:
        """Fetch what is missing of the priors; how many studies and images there are of them, and why not all came.

        Raises
        ------
        PeerFailed
            The source broke off, or there is no time left.
        NodeError
            Trying again would not help.
        """
        if search.identity_conflict is not None:
            raise NodeError(search.identity_conflict)
        exam = CurrentExam.from_dataset(read_header(self._root / search.path))
        source = source_named(self._settings, self._settings.priors.source)
        found = _in_time(source.search(exam.wanted(self._settings.priors)), search.give_up_ms)
        chosen = choose_priors(exam, found, self._settings.priors)
        problem = None
        for study in chosen:
            with self._index.read() as connection:
                is_here = is_exam(connection, study[0].study_instance_uid)
            for series in () if is_here else study:
                problem = self._fetch_series(source, series, exam, search.give_up_ms) or problem
        return len(chosen), sum(series.images for study in chosen for series in study), problem

    def _fetch_series(self, source: Source, series: FoundSeries, exam: CurrentExam, give_up_ms: int) -> str | None:
        """Fetch what is missing of a series; why not all came, None when all did."""

        def judge(path: Path) -> None:
            try:
                header = read_header(path)
            except NotAnalysed as error:
                raise UnreadableInstance(str(error)) from error
            patient = Patient.from_dataset(header)
            if not patient.patient_id or patient.contradicts(exam.patient):
                raise NotAPrior("the archive sent an image of another patient")
            if header.get("StudyInstanceUID") != series.study_instance_uid:
                raise NotAPrior("the archive sent an image of another study than was asked for")

        def take(pieces: Iterable[bytes]) -> str:
            pieces = _in_time(pieces, give_up_ms, OutOfResources)
            return take_in(self._inbox, pieces, source=PRIOR_SOURCE, judge=judge).sop_instance_uid

        missing = self._missing(series)
        if not missing:
            return None
        problem = "it has not come"
        for event in _in_time(source.fetch(series, missing, take), give_up_ms):
            if isinstance(event, Problem):
                problem = event.reason
        lacking = self._missing(series)
        return f"{len(lacking)} of {series.images} images of a prior are missing: {problem}" if lacking else None

    def _missing(self, series: FoundSeries) -> frozenset[str]:
        with self._index.read() as connection:
            kept = kept_of_series(connection, series.study_instance_uid, series.series_instance_uid)
        return (series.sop_instance_uids or frozenset()) - kept

    def _end(
        self,
        study_instance_uid: str,
        state: PriorsState,
        *,
        problem: str | None = None,
        studies: int | None = None,
        images: int | None = None,
    ) -> None:
        with self._index.write() as connection:
            searches.record_search(
                connection, study_instance_uid, state, problem=problem, studies=studies, images=images
            )
        if problem is None:
            logger.info("study %s: %d priors with %d images are here", study_instance_uid, studies, images)
        else:
            logger.warning("study %s: its priors are given up: %s", study_instance_uid, problem)


def _in_time(things: Iterable[Thing], give_up_ms: int, error: type[NodeError] = PeerFailed) -> Iterator[Thing]:
    """Things, until the time is up."""
    for thing in things:
        if now_ms() > give_up_ms:
            raise error("the time for priors is up")
        yield thing
