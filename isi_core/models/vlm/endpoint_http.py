"""Requests to an endpoint: tried again where that helps, bounded in time and size, ended at once when cancelled.

On `http.client`, where every byte of a request is this module's own: nothing is redirected, logged or taken from
the environment unseen.
"""

from __future__ import annotations

import base64
import email.utils
import http.client
import math
import os
import random
import socket
import ssl
import threading
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from urllib.parse import unquote, urljoin, urlsplit

from isi_core.domain.errors import ModelError
from isi_core.models.vlm.endpoint_address import Endpoint

TIMEOUT_VARIABLE = "ISI_ENDPOINT_TIMEOUT"
MAX_REPLY = 32 << 20
"""Bytes of a reply; 25 answers of 2,048 tokens with their likelihoods take half of it."""

_AGAIN = (429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 3
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Patience:
    """How long an endpoint is waited for, in seconds.

    Attributes
    ----------
    attempts : tries of a request, the first one included.
    first_wait, longest_wait : before the second try, doubled for each further one; a server that asks for more than
        the longest is given up.
    connect : until a connection stands.
    reply : until the whole reply is there.
    """

    attempts: int = 5
    first_wait: float = 0.5
    longest_wait: float = 30.0
    connect: float = 10.0
    reply: float = 120.0

    @classmethod
    def from_environment(cls) -> Patience:
        """With `ISI_ENDPOINT_TIMEOUT` as the time for a reply, where it is a sensible number."""
        try:
            seconds = float(os.environ.get(TIMEOUT_VARIABLE, ""))
        except ValueError:
            return cls()
        return cls(reply=seconds) if 0 < seconds <= 86_400 else cls()


@dataclass(frozen=True)
class Reply:
    """What the server sent."""

    status: int
    headers: Message = field(repr=False)
    body: bytes = field(repr=False)


class Stopped(Exception):
    """The line was stopped while a request was under way."""


class _Again(Exception):
    """A try that failed and may succeed the next time; the message is for the user."""


class Line:
    """Requests to one endpoint, from several threads; `stop` ends them all, for good.

    Attributes
    ----------
    waiting : why and how long a request waits before its next try; "" where none does.
    """

    def __init__(self, endpoint: Endpoint, patience: Patience) -> None:
        self._endpoint, self._patience = endpoint, patience
        self._tls = ssl.create_default_context() if endpoint.secure else None
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.waiting = ""

    def send(self, method: str, path: str, body: bytes | None = None, key: str | None = None) -> Reply:
        """The reply, whatever its status; after 429, 5xx and broken connections it is tried again.

        Of these, only a 500 is given back when all tries are used up: some servers refuse a field by it.

        Raises
        ------
        ModelError : no reply in time, after all tries; a redirect elsewhere; a reply too large.
        Stopped : `stop` was called.
        """
        tries = max(1, self._patience.attempts)
        for attempt in range(tries):
            asked: float | None = None
            try:
                reply = self._redirected(method, path, body, key)
                if reply.status not in _AGAIN:
                    return reply
                problem, asked = busy(self._endpoint, reply.status), _retry_after(reply.headers)
                if reply.status == 500 and attempt + 1 == tries:
                    return reply
            except _Again as error:
                problem = str(error)
            if attempt + 1 < tries:
                self._pause(attempt, asked, problem)
        raise ModelError(problem)

    def stop(self) -> None:
        """End every request under way; whoever waits for one gets `Stopped`."""
        self._stopped.set()
        with self._lock:
            for connected in self._sockets:
                with suppress(OSError):
                    connected.shutdown(socket.SHUT_RDWR)

    def _pause(self, attempt: int, asked: float | None, problem: str) -> None:
        longest = self._patience.longest_wait
        if asked is not None and asked > longest:
            raise ModelError(
                f"{self._endpoint.base_url} asks to wait {math.ceil(asked)} s before the next question: ask again then."
            )
        # Drawn anew each time, so that callers who failed together do not come back together.
        wait = min(longest, self._patience.first_wait * 2**attempt) * random.uniform(0.5, 1.0)
        if asked is not None:
            wait = asked + wait * 0.1
        self.waiting = f"{problem.partition(': ')[0]}: trying again in {wait:.0f} s"
        try:
            if self._stopped.wait(wait):
                raise Stopped
        finally:
            self.waiting = ""

    def _redirected(self, method: str, path: str, body: bytes | None, key: str | None) -> Reply:
        """One try, redirects within the server followed: another host, or another port, might not be meant."""
        url = self._endpoint.base_url + path
        for _ in range(_MOST_REDIRECTS + 1):
            reply = self._once(method, url, body, key)
            if reply.status not in _REDIRECTS:
                return reply
            url = _target(url, reply.headers.get("Location"))
            if _origin(url) != _origin(self._endpoint.base_url) or reply.status not in (307, 308):
                break
        else:
            raise ModelError(f"{self._endpoint.base_url} redirects in a circle: correct the address.")
        # Where to is not told: a hostile server could put what it was sent in there.
        raise ModelError(
            f"{self._endpoint.base_url} redirects elsewhere, where neither key nor picture is sent: give the address "
            "that it redirects to, if that is the server you mean."
        )

    def _once(self, method: str, url: str, body: bytes | None, key: str | None) -> Reply:
        if self._stopped.is_set():
            raise Stopped
        base = self._endpoint.base_url
        connection = self._connection()
        connected: socket.socket | None = None
        try:
            try:
                connection.connect()
                connected = connection.sock
                self._keep(connected)
            except TimeoutError:
                raise _Again(f"{base} does not answer: check the address and the network.") from None
            deadline = time.monotonic() + self._patience.reply
            connected.settimeout(self._patience.reply)
            parts = urlsplit(url)
            headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "isi-studio"}
            if body is not None:
                headers["Content-Type"] = "application/json"
            if key is not None:
                headers["Authorization"] = f"Bearer {key}"
            # A server that finds the question too large may say so and hang up before it has read it all.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, headers)
            response = connection.getresponse()
            return Reply(response.status, response.headers, self._read(response, connected, deadline))
        except (OSError, http.client.HTTPException, ValueError) as error:
            if self._stopped.is_set():
                raise Stopped from None
            raise self._failure(error) from None
        finally:
            connection.close()
            if connected is not None:
                with self._lock:
                    self._sockets.discard(connected)

    def _read(self, response: http.client.HTTPResponse, connected: socket.socket, deadline: float) -> bytes:
        body = bytearray()
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > MAX_REPLY:
                raise ModelError(
                    f"{self._endpoint.base_url} sent more than {MAX_REPLY >> 20} MB in one reply: check the address, "
                    "or ask for fewer and shorter answers."
                )
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connected.settimeout(left)
        if response.length:  # read1 does not tell of an end that came too early
            raise http.client.IncompleteRead(b"")
        if self._stopped.is_set():  # a connection that was shut down may look like one that ended
            raise Stopped
        return bytes(body)

    def _keep(self, connected: socket.socket) -> None:
        with self._lock:
            self._sockets.add(connected)
            if self._stopped.is_set():
                raise Stopped

    def _connection(self) -> http.client.HTTPConnection:
        """To the server, or through the proxy that the environment names for https.

        http is for this machine and trusted networks: a proxy would read what goes through it.
        """
        endpoint, seconds = self._endpoint, self._patience.connect
        if self._tls is None:
            return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=seconds)
        proxy = urllib.request.getproxies().get("https")
        bypassed = endpoint.loopback or urllib.request.proxy_bypass(f"{endpoint.host}:{endpoint.port}")
        if not proxy or bypassed:
            return http.client.HTTPSConnection(endpoint.host, endpoint.port, timeout=seconds, context=self._tls)
        try:
            parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            port = parts.port or 80
        except ValueError:
            raise ModelError("The proxy for https in the environment cannot be read: correct HTTPS_PROXY.") from None
        if parts.scheme != "http" or not parts.hostname:
            raise ModelError("The proxy for https in the environment is not an http proxy: correct HTTPS_PROXY.")
        connection = http.client.HTTPSConnection(parts.hostname, port, timeout=seconds, context=self._tls)
        headers = {}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Proxy-Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        connection.set_tunnel(endpoint.host, endpoint.port, headers)
        return connection

    def _failure(self, error: Exception) -> Exception:
        """The error for the user; one that may pass is an `_Again`. What it says itself is not repeated."""
        base = self._endpoint.base_url
        if isinstance(error, ssl.SSLCertVerificationError):
            return ModelError(f"The certificate of {base} cannot be verified: correct the address or the certificate.")
        if isinstance(error, ssl.SSLError):
            return ModelError(f"{base} does not speak https as it should: check the address and its port.")
        if isinstance(error, TimeoutError):
            return ModelError(
                f"{base} did not answer within {self._patience.reply:.3g} s: ask for fewer or shorter answers, or "
                f"set {TIMEOUT_VARIABLE} to more seconds."
            )
        if isinstance(error, ConnectionRefusedError):
            return _Again(f"Nothing answers at {base}: start the server there, or correct the address.")
        if isinstance(error, socket.gaierror):
            return _Again(f"There is no host {self._endpoint.host}: correct the address, or check the network.")
        if isinstance(error, (ConnectionError, http.client.IncompleteRead)):
            return _Again(f"{base} broke the connection off: look at the server's log, or ask again later.")
        if isinstance(error, OSError):
            return _Again(f"{base} cannot be reached: check the address and the network.")
        return ModelError(f"{base} does not answer as a web server does: check the address and its port.")


def busy(endpoint: Endpoint, status: int) -> str:
    """The sentence for a server that cannot answer now."""
    if status == 429:
        return f"{endpoint.base_url} takes no more questions for now (429): wait, or ask for fewer samples."
    return f"{endpoint.base_url} has a problem of its own ({status}): look at its log, or ask again later."


def _retry_after(headers: Message) -> float | None:
    """Seconds that a server asks to wait: a number or a date; None where it asks for nothing."""
    value = (headers.get("Retry-After") or "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError, OSError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _target(url: str, location: str | None) -> str:
    try:
        return urljoin(url, location or "")
    except ValueError:
        return ""


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port; None for what has none."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
