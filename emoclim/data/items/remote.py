"""Tell paths of files on other machines (``https://``, ``s3://``) from those of this one. Used by manifests and memos.

A manifest's paths are :class:`Path`, which makes one slash of two; :func:`url_of` gives the address back. Invariant:
what is shown or kept of an address has no user, password or signature in it, see :func:`shown_path`, :func:`name_of`.
"""

import hashlib
import re
from pathlib import Path

REMOTE = re.compile(r"([a-z][a-z0-9+.-]+):/+")  # a scheme has two letters or more: C:/ is a disk
KEPT = "\x1f"  # stands before those parts of an address that a Path would leave out
USER = re.compile(r"(://)[^/?#\s]*@")
WITHIN = re.compile(r"\b[a-z][a-z0-9+.-]+://[^\s'\"<>]+")  # an address in a sentence
# parameters that say who may read and until when, not what; the others by which they are known as such
SIGNED = {
    "x-amz-signature": re.compile(r"x-amz-[a-z0-9-]+"),
    "x-goog-signature": re.compile(r"x-goog-[a-z0-9-]+"),
    "awsaccesskeyid": re.compile(r"awsaccesskeyid|signature|expires|x-amz-security-token"),
    "googleaccessid": re.compile(r"googleaccessid|signature|expires"),
    "key-pair-id": re.compile(r"key-pair-id|signature|expires|policy|hash-algorithm"),
    "sig": re.compile(r"sig|s[vsrpeti]|srt|spr|sip|sdd|sk[tesv]|sk[ot]id|sktid|skoid"),
}


def is_remote(path: Path | str) -> bool:
    """Tell whether a path is an address."""
    return ":/" in (text := str(path)) and REMOTE.match(text) is not None


def path_within(folder: str, path: str) -> Path:
    """Return the path that a manifest in a folder means: an address as it is, others from the folder on."""
    if not is_remote(path):
        return Path(folder, path)
    scheme, _, rest = path.partition(":/")
    parts = rest.removeprefix("/").split("/")
    return Path(f"{scheme}:/" + "/".join(f"{KEPT}{part}" if part in ("", ".") else part for part in parts))


def url_of(path: Path | str) -> str:
    """Return the address of a path that is one; of others, what they are."""
    return REMOTE.sub(r"\1://", str(path), count=1).replace(KEPT, "") if is_remote(path) else str(path)


def shown_path(path: Path | str) -> str:
    """Return what may be shown of a path: an address without user, password and query; others as they are."""
    return USER.sub(r"\1", url_of(path).partition("?")[0]) if is_remote(path) else str(path)


def name_of(path: Path | str) -> str:
    """Return by which name an address is known: what is shown of it, and a hash of what its query asks for."""
    if not is_remote(path) or "?" not in (url := url_of(path)):
        return shown_path(path)
    asked = url.partition("?")[2].split("&")
    given = {part.partition("=")[0].lower() for part in asked}
    signing = [names for known, names in SIGNED.items() if known in given]
    asked = [part for part in asked if not any(names.fullmatch(part.partition("=")[0].lower()) for names in signing)]
    told = hashlib.blake2b("&".join(asked).encode(), digest_size=8).hexdigest()
    return f"{shown_path(path)}?{told}" if asked else shown_path(path)


def without_secrets(text: str, path: Path | str) -> str:
    """Return what a library says of an address in a form that may be shown."""
    return WITHIN.sub(lambda found: shown_path(found[0]), text.replace(url_of(path), shown_path(path)))
