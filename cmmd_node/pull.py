"""Fetching: what a source has is compared with the index, and what is missing comes into the inbox.

However it comes, an object is as durable as after a C-STORE, and starts the same work. An interrupted pull is resumed
by the same command: what is in the index is not fetched again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cmmd_node.deliver import echo
from cmmd_node.errors import (
    NodeError,
    NotDicom,
    OutOfResources,
    PeerFailed,
    PeerRefused,
    RefusedInstance,
    UnsupportedSOPClass,
)
from cmmd_node.index import Index, open_index
from cmmd_node.index.holdings import kept_of_series
from cmmd_node.receive.inbox import Inbox, Kept
from cmmd_node.receive.part10 import take_in
from cmmd_node.retrieve import FoundSeries, Problem, Source, Take
from cmmd_node.retrieve.dimse import MovingPacs
from cmmd_node.retrieve.media import MediaFile
from cmmd_node.serve import lock
from cmmd_node.settings import CHECK_AE_TITLE, Settings
from cmmd_node.tls import to_ourselves

#: A source that breaks off so many times in a row is left alone.
_FAILURES_IN_A_ROW = 3
_GOES_ON = "the same command goes on with what is missing"

#: Called with how many of how many are done.
Tell = Callable[[int, int], None]


@dataclass(slots=True)
class _Fetched:
    """What became of one series."""

    series: FoundSeries
    here: frozenset[str]
    """SOP Instance UIDs that are kept."""
    before: int = 0
    """So many were here before."""
    problems: dict[str, Problem] = field(default_factory=dict)
    """By what they are about; the first that is told of an instance counts."""

    def note(self, problem: Problem) -> None:
        self.problems.setdefault(problem.sop_instance_uid or problem.reason, problem)

    @property
    def missing(self) -> frozenset[str] | None:
        """What is to be fetched; None: all, since nobody knows what there is."""
        if self.series.sop_instance_uids is not None:
            return self.series.sop_instance_uids - self.here
        return frozenset() if 0 < self.series.images <= len(self.here) else None


@contextmanager
def spool_of_pull(settings: Settings) -> Iterator[tuple[Index, Inbox]]:
    """The index, and an inbox with a spool of its own; one fetches at a time.

    Raises
    ------
    StartRefused
        Somebody else does, or the data_dir cannot be used.
    """
    held = lock(settings.node.data_dir, "pull", holder="another pull or import")
    index = open_index(settings)
    try:
        inbox = Inbox(settings, index, index.client(), name="pull")
        inbox.sweep()
        yield index, inbox
    finally:
        index.close()
        os.close(held)


def pull(
    settings: Settings, source: Source, found: Iterable[FoundSeries], *, dry_run: bool, tell: Tell
) -> dict[str, Any]:
    """Fetch what is missing of `found`, or only say what there is.

    Returns
    -------
    dict
        Plain values, ready for JSON: images found, here before, fetched and failed, in all and of each study.

    Raises
    ------
    NodeError
        The source refuses, or breaks off again and again; what came until then stays.
    """
    with spool_of_pull(settings) as (index, inbox):
        listed = list(found)
        looked_at = [_look(index, series) for series in listed]
        if not dry_run:
            if isinstance(source, MovingPacs):
                _require_running_node(settings)
            _fetch_all(index, inbox, source, looked_at, tell)
    return _answer(source.name, looked_at, dry_run=dry_run)


def import_files(settings: Settings, files: Iterable[MediaFile], *, tell: Tell) -> dict[str, Any]:
    """Bring the mammograms of a medium, or pictures with a table, into the inbox; a bad file costs that file only.

    Returns
    -------
    dict
        Plain values, ready for JSON: files, new and known ones among them, what else there was, and what failed.

    Raises
    ------
    NodeError
        The medium or the table cannot be used, or there is no space.
    """
    answer: dict[str, Any] = {"files": 0, "new": 0, "here_before": 0, "skipped": {}, "failed": []}
    with spool_of_pull(settings) as (_, inbox):
        for file in files:
            answer["files"] += 1
            tell(answer["files"], 0)
            try:
                taken = take_in(inbox, file.pieces(), source="import")
            except OutOfResources as error:
                if inbox.refusal() is not None:
                    raise
                answer["failed"].append({"path": file.name, "reason": str(error)})  # larger than the limit
            except (NotDicom, UnsupportedSOPClass) as error:
                answer["skipped"][str(error)] = answer["skipped"].get(str(error), 0) + 1
            except RefusedInstance as error:
                answer["failed"].append({"path": file.name, "reason": str(error)})
            else:
                answer["new" if taken.outcome is Kept.NEW else "here_before"] += 1
    return answer


def _look(index: Index, series: FoundSeries) -> _Fetched:
    here = _kept(index, series)
    return _Fetched(series, here, before=len(here))


def _kept(index: Index, series: FoundSeries) -> frozenset[str]:
    with index.read() as connection:
        kept = kept_of_series(connection, series.study_instance_uid, series.series_instance_uid, with_priors=False)
    return kept if series.sop_instance_uids is None else kept & series.sop_instance_uids


def _taker(inbox: Inbox, source: str) -> Take:
    return lambda pieces: take_in(inbox, pieces, source=source).sop_instance_uid


def _fetch_all(index: Index, inbox: Inbox, source: Source, wanted: Sequence[_Fetched], tell: Tell) -> None:
    take = _taker(inbox, source.name)
    total = sum(max(one.series.images, len(one.here)) for one in wanted)
    done = sum(len(one.here) for one in wanted)
    failures = 0
    tell(done, total)
    for one in wanted:
        missing = one.missing
        if missing is not None and not missing:
            continue
        if refusal := inbox.refusal():
            raise OutOfResources(f"{refusal}; {_GOES_ON}")
        came = 0
        try:
            for event in source.fetch(one.series, missing, take):
                if isinstance(event, Problem):
                    one.note(event)
                else:
                    came += event
                    tell(done + came, total)
            failures = 0
        except PeerRefused:
            raise
        except PeerFailed as error:
            failures += 1
            one.note(Problem("", str(error)))
            if failures == _FAILURES_IN_A_ROW:
                raise PeerFailed(f"{error}; {_GOES_ON}") from error
        one.here = _kept(index, one.series)
        done += len(one.here) - one.before
        tell(done, total)


def _require_running_node(settings: Settings) -> None:
    """C-MOVE brings the images to our own receiver, which must be there."""
    if not echo(
        host=settings.own_host,
        port=settings.receive.port,
        called_ae_title=settings.node.ae_title,
        calling_ae_title=CHECK_AE_TITLE,
        tls=to_ourselves(settings),
    ):
        raise NodeError(
            f"no node answers at {settings.own_host}:{settings.receive.port}, and a C-MOVE would have nowhere to go; "
            'start it, or set retrieve = "get" for the peer'
        )


def _answer(source: str, fetched: Sequence[_Fetched], *, dry_run: bool) -> dict[str, Any]:
    studies: dict[str, dict[str, Any]] = {}
    for one in fetched:
        study = studies.setdefault(
            one.series.study_instance_uid or one.series.series_instance_uid,
            {
                "StudyInstanceUID": one.series.study_instance_uid or None,
                "SeriesInstanceUID": None if one.series.study_instance_uid else one.series.series_instance_uid,
                "StudyDate": one.series.study_date,
                "series": 0,
                "images": 0,
                "here_before": 0,
                "fetched": 0,
                "failed": 0,
                "problems": [],
            },
        )
        images = max(one.series.images, len(one.here))
        study["series"] += 1
        study["images"] += images
        study["here_before"] += one.before
        study["fetched"] += len(one.here) - one.before
        if not dry_run:
            study["failed"] += images - len(one.here)
            study["problems"] += [
                {"SOPInstanceUID": problem.sop_instance_uid or None, "reason": problem.reason}
                for problem in _problems(one)
            ]
    return {
        "from": source,
        "dry_run": dry_run,
        **{
            key: sum(study[key] for study in studies.values()) for key in ("images", "here_before", "fetched", "failed")
        },
        "size_bytes": sum(one.series.size_bytes for one in fetched),
        "terms": [
            {"licence": licence, "citation": citation}
            for licence, citation in dict.fromkeys((one.series.licence, one.series.citation) for one in fetched)
            if licence or citation
        ],
        "studies": list(studies.values()),
    }


def _problems(one: _Fetched) -> list[Problem]:
    """Why what is not here is not; nothing for what has come after all."""
    told = [problem for problem in one.problems.values() if problem.sop_instance_uid not in one.here]
    named = {problem.sop_instance_uid for problem in told}
    if "" in named:
        return told
    lacking = (one.series.sop_instance_uids or frozenset()) - one.here
    told += [Problem(uid, "it has not come") for uid in sorted(lacking - named)]
    if not told and (lack := one.series.images - len(one.here)) > 0:
        told = [Problem("", f"{lack} of the {one.series.images} images of a series have not come")]
    return told
