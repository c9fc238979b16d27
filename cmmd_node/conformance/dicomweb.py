"""The DICOMweb part of the statement (PS3.18), from the tables that the origin server uses."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.uid import UID

from cmmd_node.conformance.markdown import table
from cmmd_node.dicomweb.attributes import ATTRIBUTES
from cmmd_node.dicomweb.deposit import FAILURE_REASON
from cmmd_node.dicomweb.metadata import INLINE_BYTES
from cmmd_node.dicomweb.rendered import THUMBNAIL_PIXELS
from cmmd_node.dicomweb.throttle import SECONDS_PER_TRY, TRIES
from cmmd_node.dicomweb.wado import FRAME_TYPES
from cmmd_node.receive.scp import PROCESSING_FAILURE
from cmmd_node.settings import WebSettings

_WEB = WebSettings()
_INSTANCE = "/studies/{study}/series/{series}/instances/{instance}"


def dicomweb_sections() -> Iterator[str]:
    """STOW-RS, QIDO-RS and WADO-RS as origin server, a native implementation of the Studies Service."""
    yield f"""### 3.7 DICOMweb origin server

The Studies Service at `/dicom-web` of `web.host` and `web.port` (default {_WEB.host}:{_WEB.port}), HTTP 1.1 without
TLS. With `web.token` a request needs that bearer token, with `web.user` and `web.password` basic authentication; a
host that shows wrong ones {TRIES} times is answered 429 with Retry-After, and may try once in {SECONDS_PER_TRY:g}
seconds. At most {_WEB.connections} connections (`web.connections`). The Retrieve Capabilities transaction,
application/dicom+xml, rendered studies and series, worklists and WADO-URI are not offered. What can be found and
retrieved is what was received, by whatever way, and the results that were written, whatever became of their
delivery."""
    yield f"""#### 3.7.1 STOW-RS

`POST /studies` and `POST /studies/{{study}}` of multipart/related with type application/dicom; other types, metadata
with bulk data and Content-Encoding are refused (415). SOP Classes and transfer syntaxes are those of 3.2. File Meta
Information is written anew, the data set is kept as it came. The status is 200 when all instances are kept, 202 when
some are, 409 when none is, 503 when none is for want of space, 400 for a body that makes no sense, 408 for one that
comes too slowly, 413 above `web.request_limit_mb` ({_WEB.request_limit_mb} MB). Instances before the one that a request
breaks off in are kept. Failure Reason (0008,1197), with an Error Comment (0000,0902):

{table(("reason", "meaning"), _failure_reasons())}

Failures of parts that name no instance are in Other Failures Sequence (0008,119A)."""
    yield f"""#### 3.7.2 QIDO-RS

The six resources of PS3.18 table 10.6.1-1, in application/dicom+json. At most {_WEB.results} matches at once
(`web.results`). Fuzzy matching is not supported (answered with a Warning). Attributes that are not below are refused as
matching keys (400) and left out as includefield.

{table(("attribute", "tag", "VR", "level", "matched"), _attributes())}

Person names match whatever the case of letters, as a whole with all component groups. RetrieveURL, InstanceAvailability
and AvailableTransferSyntaxUID are returned as well. Study Date and Study Time ranges are combined. Studies come newest
first."""
    yield f"""#### 3.7.3 WADO-RS

{table(("resource", "representations"), _resources())}

Objects come in their own transfer syntax where it is accepted (`transfer-syntax=*`), else in Explicit VR Little Endian,
which is the default; compressed grey images are decompressed for that. Values of more than {INLINE_BYTES} bytes of
binary VRs are bulk data. Compressed frames as they are kept:

{table(("transfer syntax", "media type"), ((UID(one).name, kind) for one, kind in FRAME_TYPES.items()))}

Conditional requests (ETag, If-None-Match) are answered for all of these but the searches, range requests for files and
bulk data that are asked for alone. Rendered: parameters `window`, `viewport`, `quality` and, ours, `findings=true`,
which draws the marks of the last analysis; `annotation` and `iccprofile` are refused. The first window of the header is
used where none is given; VOI LUTs and presentation states are not. Thumbnails have {THUMBNAIL_PIXELS} pixels on the
longer side unless `viewport` says otherwise; those of a study or series show its first image."""


def _failure_reasons() -> Iterator[tuple[str, str]]:
    for kind, reason in sorted(FAILURE_REASON.items(), key=lambda pair: pair[1]):
        meaning = "Processing failure: anything unexpected" if reason == PROCESSING_FAILURE else kind.__doc__ or ""
        yield f"{reason:04X}", meaning.partition("\n")[0]


def _attributes() -> Iterator[tuple[object, ...]]:
    for one in ATTRIBUTES:
        yield (
            one.keyword,
            f"({one.tag[:4]},{one.tag[4:]})",
            one.vr,
            one.level.name.lower(),
            "yes" if one.is_key else "no",
        )


def _resources() -> Iterator[tuple[str, str]]:
    dicom = "multipart/related of application/dicom; of one instance also application/dicom"
    pictures = "image/jpeg, image/png"
    octets = "multipart/related of application/octet-stream"
    yield "`/studies/{study}`, and below it `/series/{series}`, `/instances/{instance}`", dicom
    yield "`metadata` of study, series and instance", "application/dicom+json"
    yield f"`{_INSTANCE}/frames/{{frames}}`", f"{octets}, or of the media types below"
    yield f"`{_INSTANCE}/bulkdata/{{tag}}`", f"{octets}; application/octet-stream"
    yield "`rendered` of instance and frame", pictures
    yield "`thumbnail` of study, series, instance and frame", pictures
