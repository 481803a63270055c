"""Refuse requests before they reach the service: of another host or origin, without the token, too large or too slow.

Used by the service alone. A page of another site that is open in the same browser is the attacker to think of: it can
send requests to this machine, also under a name of its own that it lets lead here, but it cannot choose their headers
`Host`, `Origin` and `Sec-Fetch-Site`.
"""

import asyncio
import hmac
import ipaddress
import socket
import time
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emoclim.app.settings import LOCAL, ServiceSettings

COOKIE = "emoclim_token"
MOST_HEADERS = 32 * 1024  # bytes of a request's headers
SLOW = 408
READING = frozenset({"GET", "HEAD"})
NAMES = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed"}
NAMES |= {SLOW: "TooSlow", 431: "TooLarge", 413: "TooLarge", 415: "UnsupportedMedia", 500: "InternalError", 503: "Busy"}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def error_response(status: int, message: str, name: str | None = None) -> JSONResponse:
    """Tell an error in the one form of them all."""
    return JSONResponse({"error": {"type": name or NAMES.get(status, "Error"), "message": message}}, status)


class Guard:
    """Passes on only what may be asked, and bounds how much a body holds and how long it takes."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self._app, self._settings = app, settings
        self._token = settings.token.encode() if settings.token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused request by itself."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if message["status"] == SLOW:
                    headers["Connection"] = "close"  # or a rest that never comes would keep it
            await send(message)

        answer = self._refusal(scope)
        if answer is not None:
            await answer(scope, receive, send_guarded)
        else:
            await self._app(scope, _bounded(receive, self._settings), send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return what a request is answered with that goes no further."""
        headers = _headers(scope)
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADERS:
            return error_response(431, "the headers of the request are too long; send fewer")
        if headers is None:
            return error_response(400, "the request has several headers where there may be one; send each once")
        if not self._is_own(headers.get("host", "")):
            return error_response(403, "the request is for another host; use the address that the service told")
        if not _is_same_site(scope, headers):
            return error_response(403, "the request comes from a page of another site; use the service's own page")
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdecimal()):
            return error_response(400, "the length of the request is no number; send it right or not at all")
        if int(length[:20]) > self._settings.upload_bytes:
            return error_response(413, _too_large(self._settings))
        return self._check_token(scope, headers)

    def _is_own(self, host: str) -> bool:
        """Whether a request names this machine: by an address, which no other site can lead here, or a name of ours."""
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname or "", parts.port
        except ValueError:
            return False
        if parts.netloc != host or "@" in host or parts.path or parts.query or parts.fragment:
            return False
        if name in LOCAL:
            return True
        return not self._settings.is_local and (
            _is_address(name) or name in (self._settings.host.lower(), socket.gethostname().lower())
        )

    def _check_token(self, scope: Scope, headers: Mapping[str, str]) -> Response | None:
        """Refuse a request without the token; keep one that an address holds in a cookie, and out of the address."""
        if self._token is None:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if scope["method"] in READING and any(self._is_token(value) for name, value in query if name == "token"):
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            place = "/" + scope["path"].lstrip("/\\")  # never to another host
            answer = RedirectResponse(f"{place}?{rest}" if rest else place, 303)
            answer.set_cookie(_cookie_name(headers), self._settings.token or "", httponly=True, samesite="strict")
            return answer
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if (scheme.lower() == "bearer" and self._is_token(given.strip())) or self._is_token(_cookie(headers)):
            return None
        return error_response(401, "the request bears no valid token; open the address that the service told")

    def _is_token(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.encode("utf-8", "replace"), self._token)


def _headers(scope: Scope) -> dict[str, str] | None:
    """Return the headers by lower-case name; None where one on which something hangs is there twice."""
    pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
    names = [name for name, _ in pairs]
    single = ("host", "origin", "content-length", "authorization", "sec-fetch-site", "content-type", "cookie")
    return None if any(names.count(name) > 1 for name in single) else dict(pairs)


def _is_same_site(scope: Scope, headers: Mapping[str, str]) -> bool:
    """Whether a request is of our own page, of a program, or a person's who opens the page."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    if origin is not None and origin.lower() != f"{scope['scheme']}://{headers['host'].lower()}":
        return False
    opens = scope["path"] == "/" and scope["method"] in READING and headers.get("sec-fetch-mode") == "navigate"
    return site in ("same-origin", "none") or opens


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _cookie_name(headers: Mapping[str, str]) -> str:
    """Name a cookie by the port that is asked: browsers send one to all ports of a host."""
    port = urlsplit(f"//{headers['host']}").port
    return f"{COOKIE}_{port or 'default'}"


def _cookie(headers: Mapping[str, str]) -> str:
    """Find our cookie among those that other programs of this host left, whatever their values are."""
    return cookie_parser(headers.get("cookie", "")).get(_cookie_name(headers), "")


def _too_large(settings: ServiceSettings) -> str:
    return f"the request holds more than {settings.upload_bytes:,} bytes; send fewer or smaller files"


def _bounded(receive: Receive, settings: ServiceSettings) -> Receive:
    """Bound what is received of a body, in bytes and seconds."""
    received, ends, whole = 0, time.monotonic() + settings.upload_seconds, False

    async def receive_bounded() -> Message:
        nonlocal received, whole
        if whole:  # only whether the client goes away is waited for
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), max(0.0, ends - time.monotonic()))
        except TimeoutError:
            raise HTTPException(SLOW, f"the request took more than {settings.upload_seconds:g} s to arrive") from None
        received += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if received > settings.upload_bytes:
            raise HTTPException(413, _too_large(settings))
        return message

    return receive_bounded
