"""Where pretrained models lie: in a folder, or in the cache of the Hugging Face hub; fetched only if that is asked."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mmaudit._errors import InputError, MissingExtraError
from mmaudit.cache import DIGESTS, TextStore, file_digest

__all__ = ["REVISIONS", "Located", "digest_of", "locate", "offline", "shown_name"]

# Commits that are taken unless another is asked for, so that everybody has the same weights. They are those that other
# public code pins; we have fetched none of them yet.
REVISIONS: dict[str, str] = {
    "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224": "9f341de24bfb00180f1b847274256e9b65a3a32e",
    "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract": "d673b8835373c6fa116d6d8006b33d48734e305d",
    "microsoft/BiomedVLP-CXR-BERT-specialized": "f1cc2c6b7fac60f3724037746a129a5baf194dbc",
    "emilyalsentzer/Bio_ClinicalBERT": "d5892b39a4adaed74b92212a44081509db72f87b",
    "sentence-transformers/all-MiniLM-L6-v2": "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
    "microsoft/rad-dino": "110cbc18d5133582e320b43d53bf5c44e410c936",
    "facebook/dinov2-base": "f9e44c814b77203eaa57a6bdbbd535f21ede1415",
    "google/siglip-base-patch16-224": "7fd15f0689c79d79e38b1c2e2e2370a7bf2761ed",
    "google/medsiglip-448": "9cea28a1a1195f665105faa6e8544c112fd960a4",
}
_SMALL = ("*.json", "*.txt", "*.model", "*.py", "README.md")
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth")  # the first kind that is there


class Located(NamedTuple):
    """A model's folder on this machine and what tells its version: the commit, or a digest of the files."""

    folder: Path
    revision: str


def locate(
    argument: str,
    name: str | Path,
    revision: str | None,
    *,
    allow_download: bool,
    extra: str,
    weights: bool = True,
    keep: Path | None = None,
) -> Located:
    """Return the folder that holds a model.

    Parameters
    ----------
    argument : str
        What an error calls it.
    name : str or path
        A folder, or `owner/name` on the Hugging Face hub, with "hf-hub:" before it or not.
    revision : str or None
        Commit, tag or branch on the hub. None: the one in `REVISIONS`, else the one called main.
    allow_download : bool
        Whether files that are not on this machine are fetched.
    extra : str
        The extra that installs what the hub needs.
    weights : bool
        False: configuration and vocabulary only.
    keep : path or None
        See `digest_of`.

    Raises
    ------
    InputError
        Neither a folder nor a name of the hub, or a model that is not on this machine; then with the command that
        fetches it.
    """
    folder = Path(str(name)).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise InputError("revision", "None for a folder", repr(revision), "A folder holds one version.")
        return Located(folder.resolve(), digest_of(sorted(p for p in folder.rglob("*") if p.is_file()), keep=keep))
    repo = str(name).removeprefix("hf-hub:")
    if not re.fullmatch(r"(?!.*(--|\.\.))\w[\w.-]*/\w[\w.-]*", repo):
        raise InputError(
            argument, "a folder that exists, or owner/name on the hub", repr(str(name)), "Check the path or the name."
        )
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
    except ImportError:
        raise MissingExtraError("a model of the Hugging Face hub", "huggingface_hub", extra) from None
    revision = REVISIONS.get(repo) if revision is None else revision
    kinds = _WEIGHTS if weights else ()

    def snapshot(patterns: Sequence[str], *, local: bool) -> Path:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(patterns), local_files_only=local))

    with contextlib.suppress(LocalEntryNotFoundError):
        found = snapshot(_SMALL, local=True)
        if not weights or any(any(found.glob(kind)) for kind in kinds):
            return Located(found, found.name)
    command = f"hf download {repo}" + (f" --revision {revision}" if revision else "")
    command += "" if weights else " ".join(["", *(f"--include '{kind}'" for kind in _SMALL)])
    if not allow_download:
        raise InputError(
            argument,
            "a model that is on this machine",
            f"{repo!r}, of which files are missing in the cache of the hub",
            f"Fetch it with `{command}`, or pass allow_download=True.",
        )
    try:
        found = snapshot(_SMALL, local=False)
        for kind in kinds:
            found = snapshot((*_SMALL, kind), local=False)
            if any(found.glob(kind)):
                break
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise InputError(
            argument,
            "a model that can be fetched",
            f"{repo!r}, which cannot ({type(error).__name__})",
            f"Check the name, the network and, for a model behind terms, `hf auth login`; then `{command}`.",
        ) from error
    return Located(found, found.name)


def digest_of(paths: Sequence[Path], *, keep: Path | None = None) -> str:
    """Return a digest of the names and contents of files; those seen before are not read again.

    Parameters
    ----------
    paths : sequence of path
    keep : path or None
        The cache folder that remembers them. None: they are remembered while the program runs, and nothing is written.
    """
    total = hashlib.blake2b(digest_size=16)
    with contextlib.closing(_remembered if keep is None else TextStore(keep / DIGESTS)) as known:
        for path in paths:
            total.update(f"{path.name}={file_digest(path, known=known)};".encode())
    return total.hexdigest()


class _InMemory(TextStore):
    """Texts by key without a file."""

    def __init__(self) -> None:
        super().__init__("")
        self.texts: dict[str, str] = {}

    def get_many(self, keys: Sequence[str]) -> dict[str, str]:
        return {key: self.texts[key] for key in keys if key in self.texts}

    def put_many(self, texts: Mapping[str, str]) -> None:
        self.texts.update(texts)


_remembered = _InMemory()


@contextlib.contextmanager
def offline(allow_download: bool) -> Iterator[None]:
    """Keep the libraries that load models from asking the hub for anything, unless that is allowed."""
    if allow_download:
        yield
        return
    try:
        from huggingface_hub import constants
    except ImportError:  # then nothing asks it
        yield
        return
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def shown_name(name: str | Path) -> str:
    """Return a name of the hub as it is, and the last part of a path: where a folder lies decides nothing."""
    path = Path(str(name)).expanduser()
    return path.name if path.exists() else str(name)
