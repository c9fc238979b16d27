"""What the node raises on purpose.

::

    NodeError
    |-- SettingsError           the configuration cannot be used; a person must change it
    |-- StartRefused            the node must not run here: lock held, database newer than the program, no durable disk
    |   `-- BundleRefused       a model bundle that is not what it says, or not what this program can run
    |-- RefusedInstance         a peer's object is not kept
    |   |-- OutOfResources      no space, I/O error, index unavailable: the peer should try again
    |   |-- WrongSOPClass       SOP Classes of context, command and data set disagree
    |   |-- UnsupportedSOPClass a SOP Class that the node does not take
    |   |-- UnsupportedTransferSyntax   an encoding that the node does not take
    |   |-- WrongStudy          an instance of another study than the one that it was stored into
    |   |-- NotAPrior           fetched as a prior, and of another patient or study
    |   |-- MalformedUID        a UID that is not one (PS3.5 9.1)
    |   |-- UnreadableInstance  empty, cut short or not parsable
    |   |   |-- NotDicom        no DICOM file at all
    |   |   |-- MissingUID      no study, series or instance UID
    |   |   |-- UIDMismatch     the SOP Instance UID is another one than the command names
    |   |   |-- Truncated       fewer bytes than its own lengths promise
    |   |   `-- TooComplex      nested too deep or too many elements
    |   `-- InstanceCollision   other bytes under a SOP Instance UID that is already kept
    |-- MalformedRequest        an HTTP request that makes no sense as it is
    |-- NotAnalysed             an image that the CAD does not take, with the reason as a sentence
    |-- ModelFault              a model's answer that is none: NaN, out of range, wrong shape, crash
    |-- InvalidResult           an object of ours that the template check refuses; it is not sent
    `-- PeerFailed              a peer did not do what was asked of it
        `-- PeerRefused         and never will: retrying is useless

A message names the thing, what was found and what was wanted; it never holds a patient's name or id.
"""


class NodeError(Exception):
    """Base of all errors that the node raises on purpose."""


class SettingsError(NodeError):
    """The configuration cannot be used as it is."""


class StartRefused(NodeError):
    """The node must not start here; the message says why."""


class BundleRefused(StartRefused):
    """A model bundle cannot be used; the message names the bundle and what is wrong with it."""


class RefusedInstance(NodeError):
    """A peer's object is not kept; the receiving protocol turns the class into its answer."""


class OutOfResources(RefusedInstance):
    """No space, an I/O error or no index: the peer should try again later."""


class WrongSOPClass(RefusedInstance):
    """SOP Classes of presentation context, command and data set disagree."""


class UnsupportedSOPClass(RefusedInstance):
    """The SOP Class is not one that the node takes."""


class UnsupportedTransferSyntax(RefusedInstance):
    """The transfer syntax is not one that the node takes."""


class WrongStudy(RefusedInstance):
    """The instance belongs to another study than the one that it was stored into."""


class NotAPrior(RefusedInstance):
    """The instance was fetched as a prior, and is of another patient or study than was asked for."""


class MalformedUID(RefusedInstance):
    """A UID does not follow PS3.5 9.1."""


class UnreadableInstance(RefusedInstance):
    """The data set is empty or not parsable."""


class NotDicom(UnreadableInstance):
    """It does not begin like a DICOM file."""


class MissingUID(UnreadableInstance):
    """Study, Series or SOP Instance UID is missing or empty."""


class UIDMismatch(UnreadableInstance):
    """The data set's SOP Instance UID is another one than the command names."""


class Truncated(UnreadableInstance):
    """The data set ends before its own lengths say."""


class TooComplex(UnreadableInstance):
    """Sequences are nested too deep, or there are too many elements."""


class InstanceCollision(RefusedInstance):
    """The SOP Instance UID is already kept with other bytes."""


class MalformedRequest(NodeError):
    """An HTTP request makes no sense; the message says why and is the answer."""


class NotAnalysed(NodeError):
    """An image that the CAD does not take; the message is the reason that goes into the result."""


class ModelFault(NodeError):
    """A model gave no answer that can be used; the message names the model and goes into the result."""


class InvalidResult(NodeError):
    """An object of ours fails the template check and is not sent."""


class PeerFailed(NodeError):
    """A peer did not do what was asked of it; trying again may help."""

    retry_after_seconds: float | None = None
    """When the peer wants to be asked again, if it said so."""


class PeerRefused(PeerFailed):
    """A peer refused for good what was asked of it; a person must act."""
