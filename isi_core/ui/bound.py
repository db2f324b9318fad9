"""Widgets that show what lies on a desk, and put back what a person makes of it.

Widgets forget what they showed when their page is left; the desk does not. What a callback refuses
is said on the page in one sentence, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Protocol

import streamlit as st

from isi_core.domain.errors import StudioError


class Speaking(Protocol):
    """A desk with a place for what went wrong."""

    error: str

    def hush(self) -> None:
        """Take back what was said about the action before."""
        ...


class Keyed(Speaking, Protocol):
    """A desk whose widgets' keys begin with a word of its own."""

    prefix: ClassVar[str]


class Filtering(Speaking, Protocol):
    """A desk with a filter, one of frozen parts."""

    filter: Any

    def narrow(self, wanted: Any) -> None:
        """Look through another filter."""
        ...


def guarded(desk: Speaking, do: Callable[..., object], *arguments: Any) -> None:
    """Do something; what it refuses is said on the page, and nothing else changes."""
    desk.hush()
    try:
        do(*arguments)
    except StudioError as error:
        desk.error = str(error)


def bound(
    desk: Keyed, name: str, changed: Callable[[], object] | None = None, keep_none: bool = False
) -> dict[str, Any]:
    """`key` and `on_change` of a widget that shows a field of the desk and writes it back.

    `changed` runs afterwards. A second click on a segment takes it back: the field stays then, unless `keep_none`.
    """
    key = f"{desk.prefix}_{name}"
    st.session_state[key] = getattr(desk, name)
    return {"key": key, "on_change": partial(_write, desk, name, key, changed, keep_none)}


def _write(desk: Keyed, name: str, key: str, changed: Callable[[], object] | None, keep_none: bool) -> None:
    value = st.session_state[key]
    if value is not None or keep_none:
        setattr(desk, name, value)
    desk.hush()
    if changed is not None:
        guarded(desk, changed)


def shown(desk: Speaking, key: str, value: Any, put: Callable[[Any], None]) -> Callable[[], None]:
    """Show a value in the widget `key`, and give the callback that puts back what a person makes of it."""
    st.session_state[key] = value

    def write() -> None:
        guarded(desk, put, st.session_state[key])

    return write


def filter_part(desk: Filtering, name: str) -> Callable[[Any], None]:
    """Puts a widget's value into a part of the filter; several values as a tuple, none as ""."""

    def put(value: Any) -> None:
        changed: dict[str, Any] = {name: tuple(value) if isinstance(value, (list, tuple)) else (value or "")}
        desk.narrow(replace(desk.filter, **changed))

    return put
