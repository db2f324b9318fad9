"""Where a language model that judges entailment is: `judge:MODEL@URL`, as an endpoint's name but for the first word."""

from __future__ import annotations

from isi_core.domain.errors import ModelError
from isi_core.models.vlm.endpoint_address import PREFIX as ENDPOINT_PREFIX
from isi_core.models.vlm.endpoint_address import Endpoint, parse_endpoint

PREFIX = "judge:"
EXAMPLE = "judge:MODEL@http://127.0.0.1:8000/v1"


def is_judge(name: str) -> bool:
    """The name means a judge, well formed or not."""
    return name.strip().lower().startswith(PREFIX)


def parse_judge(name: str) -> Endpoint:
    """The endpoint of the judge of this name.

    Raises
    ------
    ModelError : not of the form `judge:MODEL@URL`, or an address that no endpoint may have.
    """
    try:
        return parse_endpoint(ENDPOINT_PREFIX + name.strip()[len(PREFIX) :])
    except ModelError as error:
        raise ModelError(str(error).replace(ENDPOINT_PREFIX, PREFIX)) from None


def judge_name(endpoint: Endpoint) -> str:
    """`judge:MODEL@URL`, the same for every way to write the same address."""
    return f"{PREFIX}{endpoint.model}@{endpoint.base_url}"
