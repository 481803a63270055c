"""Know hosts that nothing reaches, so that not each of their files waits for them. Used by whoever fetches files.

Invariants: an answer, whichever, is one of a host that is there; a host that seems dead is tried again now and then.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from emoclim.errors import PassingError

LOST = 5  # files of a host, one after another, none of whose tries reached it: from then on it seems dead
REST = 30.0  # seconds in which a host that seems dead is not tried
DEAD = f"its server does not answer: no try reached it for {LOST} items in a row or more; run again when it does"
# what is raised where no connection came about: no name, no way, nobody there, no TLS
UNREACHED = (
    "ClientConnectorError",
    "ConnectionTimeoutError",
    "ConnectionRefusedError",
    "ConnectTimeoutError",
    "EndpointConnectionError",
    "ProxyConnectionError",
    "SSLError",
    "gaierror",
)


class UnreachedError(PassingError):
    """No try for a file reached its server."""


def is_unreached(error: Exception, url: str) -> bool:
    """Tell whether an error says that no connection to the host of an address came about, or to the proxy for it."""
    if isinstance(error, TimeoutError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # of which fsspec made one of its own
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds.isdisjoint(UNREACHED) or not url.startswith("http") or "ClientProxyConnectionError" in kinds:
        return not kinds.isdisjoint(UNREACHED)
    named = getattr(error, "host", str(error))  # it may be another, to which this one has pointed
    return (urlsplit(url).hostname or "") in named.lower()


@dataclass(frozen=True)
class UnreachableHosts:
    """Hosts that no try reached lately, of one run in one process."""

    lost: dict[str, tuple[int, float]] = field(default_factory=dict)  # by host: files in a row, and when the last was

    @contextmanager
    def asked(self, url: str) -> Iterator[bool]:
        """Let a file be fetched, and note whether its host was reached; yield whether that seems dead.

        Raises
        ------
        UnreachedError
            The host was tried a moment ago.
        """
        host = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        count, last = self.lost.get(host, (0, 0.0))
        if (dead := count >= LOST) and time.monotonic() < last + REST:
            raise UnreachedError(DEAD)
        try:
            yield dead
        except UnreachedError:
            self.lost[host] = count + 1, time.monotonic()
            raise
        except PassingError:  # of a server that is there
            self.lost.pop(host, None)
            raise
        self.lost.pop(host, None)
