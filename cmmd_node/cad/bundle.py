"""Model bundles: a folder that holds a model with all that is needed to judge, verify and run it.

::

    metadata.json      what it is, how it is fed, what it answers, and the sha256 of every other file
    model.safetensors  weights of a network that this program knows       (kind "native")
    model.pt2          a network exported by torch.export                 (kind "torch.export")
    ...                whatever the command needs                         (kind "command")
    golden/            one view and the marks on it, run whenever the bundle is opened
    MODEL_CARD.md      what it was made from, measured on, and not made for
    LICENSE

This module reads and verifies; it imports no torch and runs nothing. The words of metadata.json are those of MONAI
bundles where there is one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cmmd_node.cad.both_views import BothViews
from cmmd_node.errors import BundleRefused
from cmmd_node.facts import Kind, Model
from cmmd_node.settings import BUILTIN

SCHEMA = "cmmd-node-bundle/1"
METADATA = "metadata.json"
MODEL_CARD, LICENCE = "MODEL_CARD.md", "LICENSE"
GOLDEN_IMAGE, GOLDEN_VIEW, GOLDEN_MARKS = "golden/image.png", "golden/view.json", "golden/marks.json"
_ALWAYS_THERE = (MODEL_CARD, LICENCE, GOLDEN_IMAGE, GOLDEN_VIEW, GOLDEN_MARKS)
_LARGEST_METADATA = 1 << 20
_BUILTIN_FOLDER = Path(__file__).parent / "builtin"

Word = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Way(StrEnum):
    """How the model is brought."""

    NATIVE = "native"
    EXPORTED = "torch.export"
    COMMAND = "command"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MapFormat(_Part):
    """What goes into an exported network and comes out: one image in, one map of masses out."""

    pixel_mm: Annotated[float, Field(ge=0.05, le=2.0)]
    """Of the input, float32 (1, 1, rows, columns): 0 is air, 1 the densest; the chest wall is at column 0."""
    multiple: Annotated[int, Field(ge=1, le=256)] = 1
    """Rows and columns are filled up with air to a multiple of this."""
    stride: Annotated[int, Field(ge=1, le=64)] = 1
    """The output, float32 (1, 1, rows / stride, columns / stride), holds the suspicion of each place, 0 to 1."""

    @model_validator(mode="after")
    def _fits(self) -> MapFormat:
        if self.multiple % self.stride:
            raise ValueError(f"multiple {self.multiple} is no multiple of stride {self.stride}")
        return self


class Metadata(_Part):
    """metadata.json."""

    schema_: Annotated[Literal["cmmd-node-bundle/1"], Field(alias="schema")]
    name: Word
    version: Word
    kind: Way
    task: str
    description: str
    intended_use: str
    contraindications: str
    authors: str
    licence: str
    data_source: str
    changelog: dict[str, str] = {}
    pytorch_version: tuple[str, ...] = ()
    """Major and minor versions with which it was tried, such as "2.13"; not looked at for commands."""
    architecture: str | None = None
    """Of a native bundle: the network in this program that takes the weights."""
    network_data_format: MapFormat | None = None
    """Of an exported network."""
    command: tuple[str, ...] = ()
    """Program and arguments, run in the bundle's folder; the folder with the view is added as the last argument."""
    seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """How long the command may take for one view."""
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)]
    """What it looks for; calcification clusters are left to the classical detector where it does not."""
    threshold: Annotated[float, Field(ge=0, le=1)]
    """Marks of at least this suspicion are reported unless told otherwise."""
    probability_malignant: bool = False
    """It gives calibrated probabilities, measured on biopsy-proven cases as the model card says."""
    both_views: BothViews | None = None
    """How its probabilities in CC and MLO are weighed with each other; None: they stay as it gave them."""
    subtypes: bool = False
    """It tells molecular subtypes, having seen some; exploratory."""
    golden_tolerance: Annotated[float, Field(gt=0, le=0.1)] = 0.02
    """Of the suspicion of each golden mark."""
    eval_metrics: dict[str, Any] = {}
    sha256: dict[str, Digest]
    """Of every other file, by its path in the folder."""

    @model_validator(mode="after")
    def _of_its_kind(self) -> Metadata:
        wanted = {
            Way.NATIVE: ("architecture", self.architecture),
            Way.EXPORTED: ("network_data_format", self.network_data_format),
            Way.COMMAND: ("command", self.command),
        }
        for kind, (name, value) in wanted.items():
            if bool(value) is not (kind is self.kind):
                raise ValueError(f"{name} is for bundles of kind {kind}, and needed there")
        if Kind.MASS not in self.kinds:
            raise ValueError("kinds holds no mass")
        if self.kind is Way.EXPORTED and self.kinds != (Kind.MASS,):
            raise ValueError(f"a bundle of kind {self.kind} looks for masses only")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle whose files are what its metadata says."""

    folder: Path
    metadata: Metadata
    digest: str
    """sha256 of metadata.json, and so of every file."""

    @property
    def label(self) -> str:
        return f"{self.metadata.name} {self.metadata.version}"

    def refused(self, reason: str) -> BundleRefused:
        return BundleRefused(f"model bundle {self.label}: {reason}")

    def model(self, *, code: str = "") -> Model:
        """Who speaks; `code` is what decides the answers besides the bundle's files."""
        digest = hashlib.sha256(f"{self.digest} {code}".encode()).hexdigest()
        return Model(name=self.metadata.name, version=self.metadata.version, digest=digest)


def bundle_named(name: str) -> Bundle:
    """The bundle that the setting names: "builtin" or a folder.

    Raises
    ------
    BundleRefused
        As `read_bundle`.
    """
    return read_bundle(_BUILTIN_FOLDER if name == BUILTIN else Path(name))


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and verify every file, before anything of it is opened.

    Raises
    ------
    BundleRefused
        It is no bundle, of a schema, kind or torch version that is not known here, or a file is missing, unknown or
        another than it was.
    """
    data = _metadata_bytes(folder)
    try:
        content = json.loads(data)
    except ValueError as error:
        raise BundleRefused(f"model bundle {folder}: {METADATA} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else None
        raise BundleRefused(f"model bundle {folder}: schema is {found!r}, {SCHEMA!r} is wanted")
    try:
        metadata = Metadata.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BundleRefused(
            f"model bundle {folder}: {METADATA}: {where}: {first['msg']}".replace(": :", ":")
        ) from error
    bundle = Bundle(folder=folder, metadata=metadata, digest=hashlib.sha256(data).hexdigest())
    _verify_files(bundle)
    _verify_torch(bundle)
    return bundle


def sha256_of_files(folder: Path) -> dict[str, str]:
    """What metadata.json has to say of the files of a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / METADATA
    }


def _metadata_bytes(folder: Path) -> bytes:
    path = folder / METADATA
    if not path.is_file():
        raise BundleRefused(f"model bundle {folder}: there is no {METADATA}")
    if path.stat().st_size > _LARGEST_METADATA:
        raise BundleRefused(f"model bundle {folder}: {METADATA} is larger than {_LARGEST_METADATA} bytes")
    return path.read_bytes()


def _verify_files(bundle: Bundle) -> None:
    for path in bundle.folder.rglob("*"):
        if path.is_symlink():
            raise bundle.refused(f"{path.relative_to(bundle.folder)} is a link")
    found, wanted = sha256_of_files(bundle.folder), bundle.metadata.sha256
    for name in (*wanted, *_ALWAYS_THERE):
        if name not in found:
            raise bundle.refused(f"{name} is missing")
    for name, digest in found.items():
        if name not in wanted:
            raise bundle.refused(f"{name} is not listed in {METADATA}")
        if digest != wanted[name]:
            raise bundle.refused(f"{name} has sha256 {digest[:12]}..., {METADATA} says {wanted[name][:12]}...")


def _verify_torch(bundle: Bundle) -> None:
    if bundle.metadata.kind is Way.COMMAND:
        return
    here = ".".join(version("torch").split(".")[:2])
    if here not in bundle.metadata.pytorch_version:
        tried = ", ".join(bundle.metadata.pytorch_version) or "no version"
        raise bundle.refused(f"pytorch_version is {tried}; this is torch {here}")
