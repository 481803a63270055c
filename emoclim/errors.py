"""Errors that a user can cause; each message says what is wrong, where, and what to do about it."""

import re
from collections.abc import Iterable

# Control characters, ends of lines and paragraphs, and marks that turn what follows round
STEERING = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
OUT_OF_MEMORY = re.compile(r"allocate memory|not enough memory|out of memory")  # torch has no type of its own for it


class EmoclimError(Exception):
    """Base of every error of this package; the command line prints its message in one line and exits with 2."""


class ManifestError(EmoclimError):
    """A manifest, its labels, its splits or a label map cannot be used as given."""


class DecodeError(EmoclimError):
    """The content of one item cannot be used; a run notes the reason against the item and goes on."""


class PassingError(DecodeError):
    """What keeps an item from being used is not its content, and may be gone another time: it is tried again."""


class MissingLibrary(EmoclimError):
    """An optional library is not installed; an item that needs it fails for now, and is tried again another time."""


class EncoderError(EmoclimError):
    """No such encoder, or a setting that it does not take."""


class CheckpointError(EncoderError):
    """A file of parameters is missing, is not what it should be, or does not fit the network."""


class CacheError(EmoclimError):
    """A feature cache cannot be opened, read or written as asked."""


class CacheMismatch(CacheError):
    """A feature cache, or a pair of heads, belongs to features made in another way."""


class ConfigError(EmoclimError):
    """A setting is unknown or out of range."""


class RunError(EmoclimError):
    """A folder is no training run, or a run lacks what a command needs of it."""


def reason_of(error: OSError) -> str:
    """What an OSError says went wrong, also where a library raised it with a sentence of its own and no number."""
    return error.strerror or str(error) or type(error).__name__


def user_message(error: BaseException) -> str | None:
    """What to tell a user of an error, in a sentence; None of one that is a bug of ours."""
    if isinstance(error, EmoclimError):
        return str(error)
    if isinstance(error, OSError):
        place = f"{error.filename} cannot be used" if error.filename else "the result cannot be written"
        return f"{place} ({reason_of(error)}); check the place, its permissions and its space"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error))):
        return "there is not enough memory; ask for smaller batches or widths, or fewer heads"
    return None


def name_some(names: Iterable[str], limit: int = 5, between: str = ", ") -> str:
    """``"a, b, c, d, e and 7 more"``: the first few names, and how many there are besides."""
    names = list(names)
    return between.join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def on_one_line(text: str) -> str:
    """Escape what would break a line, turn it round, or steer a terminal: names of files may hold anything."""
    return STEERING.sub(lambda found: ascii(found[0])[1:-1], text)
