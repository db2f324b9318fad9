"""The key of an endpoint: where it is read, who may get it, and that no text carries it out.

It is read anew for every question and kept nowhere.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from isi_core.domain.errors import ModelError
from isi_core.models.vlm.endpoint_address import Endpoint

KEY_VARIABLE = "ISI_ENDPOINT_KEY"
KEY_SECRET = "isi_endpoint_key"
HOSTS_VARIABLE = "ISI_ENDPOINT_HOSTS"
"""Hosts beside this machine that get the key, comma-separated. Without such a list anyone who may type an address
could have the operator's key sent to a server of their own."""
HOSTS_SECRET = "isi_endpoint_hosts"

_SECRETS = Path(".streamlit") / "secrets.toml"
_MOST_BYTES = 1 << 20
_TELLING = 6  # characters of a key in a row that are not repeated
_LONG = 8  # characters from which a key is no ordinary word


def endpoint_key(endpoint: Endpoint) -> str | None:
    """The key that this endpoint is to get; None where there is none, or none for its host.

    Raises
    ------
    ModelError : the key holds characters that no header can carry, or the secrets file is damaged.
    """
    return _key() if may_have_key(endpoint) else None


def has_key() -> bool:
    """There is a key, whoever may get it."""
    return _key() is not None


def may_have_key(endpoint: Endpoint) -> bool:
    """The server runs on this machine, or the operator named its host."""
    if endpoint.loopback:
        return True
    listed = os.environ.get(HOSTS_VARIABLE)
    named: Any = listed if listed is not None else _secret(HOSTS_SECRET)
    hosts = named.split(",") if isinstance(named, str) else named if isinstance(named, list) else []
    known = {str(host).strip().lower() for host in hosts}
    return bool({endpoint.host, f"{endpoint.host}:{endpoint.port}"} & known)


def without_key(text: str, key: str | None) -> str:
    """The text; "" where it holds the key or a telling part of it (some servers repeat its beginning)."""
    if not key:
        return text
    if len(key) < _LONG:
        return "" if key in text else text
    folded, parts = text.casefold(), key.casefold()
    told = any(parts[i : i + _TELLING] in folded for i in range(len(parts) - _TELLING + 1))
    return "" if told else text


def holds_key(text: str, key: str | None) -> bool:
    """The whole key stands in the text; a short one (`EMPTY`, say) is an ordinary word, not a secret."""
    return key is not None and len(key) >= _LONG and key in text


def _key() -> str | None:
    value = os.environ.get(KEY_VARIABLE) or _secret(KEY_SECRET)
    key = value.strip() if isinstance(value, str) else ""
    if not key:
        return None
    if not all("!" <= c <= "~" for c in key):
        raise ModelError(f"The key in {KEY_VARIABLE} or {_SECRETS} has spaces or special characters: copy it again.")
    return key


def _secret(name: str) -> object:
    """A value of Streamlit's secrets: this project's first, else the user's."""
    for folder in (Path.cwd(), Path.home()):
        file = folder / _SECRETS
        try:
            if file.stat().st_size > _MOST_BYTES:
                continue
            value = tomllib.loads(file.read_text(encoding="utf-8")).get(name)
        except OSError:
            continue
        except (ValueError, RecursionError):
            # tomllib's own message may quote the file.
            raise ModelError(f"{_SECRETS} is not a TOML file: mend it, or set {KEY_VARIABLE}.") from None
        if value is not None:
            return value
    return None
