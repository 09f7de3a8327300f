"""Input D: what API taps write, in eight streams, of which every other one has no key.

The schemas resemble those of data models: nullable objects as `anyOf`, patterns, enums, bounds,
free-form objects, and a key of type number. The records also have what the schema does not declare,
as after a change of the API.
"""

# ruff: noqa: PLR2004 - generated values consist of numbers

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.random_values import (
    CITIES,
    COUNTRIES,
    NAMES,
    STATUSES,
    TAGS,
    TIME,
    nullable_schema,
    random_person,
    random_time,
    value_or_null,
)

if TYPE_CHECKING:
    import random


def _nullable_object(**properties: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON schema
    return {"anyOf": [{"type": "object", "properties": properties}, {"type": "null"}]}


_PERSON: Final = _nullable_object(
    fullName=nullable_schema("string"),
    emailAddress=nullable_schema("string", pattern="^[^@ ]+@[^@ ]+$"),
    locale=nullable_schema("string", pattern="^[a-z]{2}$"),
)
PROPERTIES: Final = {
    "ticketNumber": {"type": "number"},
    "url": {"type": "string", "pattern": "^https://"},
    "status": {"type": "string", "enum": list(STATUSES)},
    "priority": {"type": "integer", "enum": [1, 2, 3]},
    "satisfaction": nullable_schema("number", minimum=0, maximum=5),
    "createdAt": TIME,
    "updatedAt": TIME,
    "requester": _PERSON,
    "assignee": _PERSON,
    "organization": _nullable_object(
        name={"type": "string"},
        address=_nullable_object(
            city=nullable_schema("string"), country={"type": "string", "minLength": 2}
        ),
    ),
    "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 10},
    "customFields": {"type": "object", "additionalProperties": True},
    "metricSet": {"type": "object", "additionalProperties": {"type": ["integer", "null"]}},
    "description": nullable_schema("string"),
}


def _random_contact(rng: random.Random, share: float) -> dict[str, Any] | None:
    if rng.random() >= share:
        return None
    name, email = random_person(rng)
    return {
        "fullName": name,
        "emailAddress": email,
        "locale": value_or_null(rng, 0.7, rng.choice(("de", "en", "pt"))),
    }


def random_ticket(rng: random.Random) -> dict[str, Any]:
    """Return the values of a record except its key."""
    organization = {
        "name": f"{rng.choice(NAMES)} & Co",
        "address": value_or_null(
            rng, 0.8, {"city": rng.choice(CITIES), "country": rng.choice(COUNTRIES)}
        ),
    }
    ticket = {
        "url": f"https://example.com/api/v2/tickets/{rng.randrange(10**7)}.json",
        "status": rng.choice(STATUSES),
        "priority": rng.randrange(1, 4),
        "satisfaction": value_or_null(rng, 0.4, rng.randrange(1, 500) / 100),
        "createdAt": random_time(rng),
        "updatedAt": random_time(rng),
        "requester": _random_contact(rng, 1),
        "assignee": _random_contact(rng, 0.6),
        "organization": value_or_null(rng, 0.7, organization),
        "tags": rng.sample(TAGS, rng.randrange(4)),
        "customFields": {
            f"field_{n}": rng.choice((*TAGS, None, True, n)) for n in range(rng.randrange(6))
        },
        "metricSet": {"replies": rng.randrange(20), "reopens": value_or_null(rng, 0.5, 1)},
        "description": value_or_null(rng, 0.9, " ".join(rng.choices(TAGS + CITIES, k=25))),
        "via": {"channel": rng.choice(("web", "email", "api")), "rel": None},
        "isPublic": rng.random() < 0.5,
    }
    if rng.random() < 0.3:
        ticket["externalId"] = f"{rng.getrandbits(48):012x}"
    return ticket
