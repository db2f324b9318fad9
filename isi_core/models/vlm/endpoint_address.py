"""Where a model behind an OpenAI-compatible server is: `endpoint:MODEL@URL`, read and checked."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from isi_core.domain.errors import ModelError

PREFIX = "endpoint:"
EXAMPLE = "endpoint:MODEL@http://127.0.0.1:8000/v1"
INSECURE_VARIABLE = "ISI_ENDPOINT_INSECURE"
"""Set to 1, http is allowed to other machines too: keys and pictures then travel in clear text."""

_NAME = re.compile(r"endpoint:(?P<model>[^\s@](?:.{0,198}?[^\s@])?)@(?P<url>https?://[!-~]{1,400})")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,252}[a-z0-9])?|[0-9a-f:.]+")
_CALL = "/chat/completions"


@dataclass(frozen=True)
class Endpoint:
    """A model of an OpenAI-compatible server; make one with `parse_endpoint`.

    Attributes
    ----------
    model : the model's name at the server.
    secure : https, not http.
    host, port : lower case, IPv6 without brackets; the scheme's own port where none was given.
    path : what the API's paths begin with, such as `/v1`; no slash at its end.
    """

    model: str
    secure: bool
    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        """Scheme, host and port, the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == (443 if self.secure else 80) else f":{self.port}"
        return f"{'https' if self.secure else 'http'}://{host}{port}"

    @property
    def base_url(self) -> str:
        """The address without user name, password and query."""
        return self.origin + self.path

    @property
    def name(self) -> str:
        """`endpoint:MODEL@URL`, the same for every way to write the same address."""
        return f"{PREFIX}{self.model}@{self.base_url}"

    @property
    def loopback(self) -> bool:
        """The server runs on this machine."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """The host, in lower case, is this machine whatever a name server says."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_endpoint(name: str) -> bool:
    """The name means an endpoint, well formed or not."""
    return name.strip().lower().startswith(PREFIX)


def parse_endpoint(name: str) -> Endpoint:
    """The endpoint of this name.

    Raises
    ------
    ModelError : not of the form `endpoint:MODEL@URL`, an address with a user name, a password or a query (which
        would be kept with every result), or http to another machine.
    """
    # No message repeats the address before it is known to hold no password.
    name = name.strip()
    found = _NAME.fullmatch(PREFIX + name[len(PREFIX) :])
    if found is None or not found["model"].isprintable():
        raise ModelError(f"This is not the name of an endpoint: write {EXAMPLE}.")
    try:
        parts = urlsplit(found["url"])
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise ModelError(f"The address of this endpoint cannot be read: write {EXAMPLE}.") from None
    if "@" in parts.netloc or "?" in found["url"] or "#" in found["url"]:
        raise ModelError(
            "An endpoint's address must hold no user name, password, query or fragment, as it is kept with every "
            "result: give the address alone, and the key in ISI_ENDPOINT_KEY."
        )
    if not _HOST.fullmatch(host) or port == 0:
        raise ModelError(f"The address of this endpoint names no host that can be asked: write {EXAMPLE}.")
    secure = parts.scheme == "https"
    if not secure and not is_loopback(host) and os.environ.get(INSECURE_VARIABLE) != "1":
        raise ModelError(
            f"http to {host} would send pictures and keys in clear text: use https, or set {INSECURE_VARIABLE}=1 "
            "if the network is trusted."
        )
    path = parts.path.rstrip("/").removesuffix(_CALL).rstrip("/")
    return Endpoint(found["model"], secure, host, port or (443 if secure else 80), path)
