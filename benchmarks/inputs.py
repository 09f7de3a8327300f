"""The inputs: Singer files generated from a seed, the same on every machine.

A has 12 flat fields with dates, B has 40 fields, most of them nested, C has 10 KB of text. They
resemble the output of real taps: names in camel case, nulls, fractions, accents, lines as the SDK's
taps write them, and STATEs. One record in fifty is a later version of an earlier one, so that
something is merged.

Numbers have no more digits than a float keeps, and no whole number is written with a point, because
the plain SDK target does not preserve these.
"""

# ruff: noqa: PLR2004 - generated values consist of numbers, and their fields name them

from __future__ import annotations

import gzip
import json
import random
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Record = dict[str, Any]

SEED: Final = 20241
RECORDS_PER_STATE: Final = 10_000
_UPDATE_SHARE: Final = 0.02  # records that are new versions of earlier ones
_EPOCH: Final = datetime(2021, 1, 1, tzinfo=timezone.utc)
_SECONDS: Final = 5 * 365 * 24 * 3600

_NAMES: Final = (
    *("Anna", "Bjørn", "Chloé", "David", "Elif", "François", "Grace", "Håkon", "Inés", "José"),
    *("Kateřina", "Liam", "Małgorzata", "Noor", "Olga", "Pedro", "Quinn", "Renée", "Søren", "Zoë"),
)
_SURNAMES: Final = (
    *("Almeida", "Brown", "Çelik", "Dvořák", "Eriksson", "Fischer", "García", "Hernández", "Ito"),
    *("Jensen", "Kowalski", "López", "Müller", "Nguyễn", "O'Neill", "Papadopoulos", "Rossi"),
)
_CITIES: Final = ("Bonn", "Kraków", "Lisboa", "Malmö", "München", "Oslo", "São Paulo", "York")
_COUNTRIES: Final = ("BR", "DE", "GB", "NO", "PL", "PT", "SE")
_STATUSES: Final = ("pending", "paid", "packed", "shipped", "delivered", "returned")
_TAGS: Final = ("new", "vip", "b2b", "newsletter", "churn-risk", "beta", "référence")


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of record.

    Attributes:
        letter: Its short name.
        title: Its description.
        stream: The stream's name.
        key: The key property.
        properties: The properties' JSON schemas.
        values: Generates the values of a record except the key.
        records: Number of records at full scale.
    """

    letter: str
    title: str
    stream: str
    key: str
    properties: Mapping[str, Any]
    values: Callable[[random.Random], Record]
    records: int

    @property
    def schema(self) -> dict[str, Any]:
        """The stream's JSON schema."""
        return {"type": "object", "properties": self.properties, "required": [self.key]}


def write_input(
    path: Path, shape: Shape, records: int, *, streams: int = 1, seed: int = SEED
) -> None:
    """Write a Singer file.

    Args:
        path: The file to write.
        shape: The kind of its records.
        records: Number of records of all streams.
        streams: Number of streams, whose records alternate.
        seed: The same seed generates the same bytes.
    """
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(generate_lines(shape, records, streams=streams, seed=seed))


def unzip_input(source: Path, path: Path) -> int:
    """Decompress a Singer file, and return its number of records."""
    content = gzip.decompress(source.read_bytes())
    path.write_bytes(content)
    return sum(line.startswith(b'{"type":"RECORD"') for line in content.splitlines())


def generate_lines(
    shape: Shape, records: int, *, streams: int = 1, seed: int = SEED
) -> Iterator[str]:
    """Yield the lines of a Singer file; for the arguments, see `write_input`."""
    rng = random.Random(seed)  # noqa: S311 - not for security
    names = [shape.stream] if streams == 1 else list(_generate_stream_names(shape.stream, streams))
    for name in names:
        yield _format_line(
            {
                "type": "SCHEMA",
                "stream": name,
                "schema": shape.schema,
                "key_properties": [shape.key],
            }
        )
    for number in range(records):
        turn, stream = divmod(number, streams)
        key = rng.randrange(turn) + 1 if turn and rng.random() < _UPDATE_SHARE else turn + 1
        yield _format_line(
            {
                "type": "RECORD",
                "stream": names[stream],
                "record": {shape.key: key, **shape.values(rng)},
                "time_extracted": f"{_EPOCH + timedelta(microseconds=number):%Y-%m-%dT%H:%M:%S.%f}"
                "+00:00",
            }
        )
        if (number + 1) % RECORDS_PER_STATE == 0 or number + 1 == records:
            yield _format_line(
                {"type": "STATE", "value": {"bookmarks": {name: {"seen": number + 1}}}}
            )


def _format_line(message: Record) -> str:
    return json.dumps(message, separators=(",", ":")) + "\n"


def _generate_stream_names(stream: str, count: int) -> Iterator[str]:
    """Yield names without digits, because a collection's name cannot have any."""
    for number in range(count):
        first, second = divmod(number, 26)
        yield f"{stream}_{chr(ord('a') + first)}{chr(ord('a') + second)}"


# Schemas and values


def _nullable_schema(kind: str, **keywords: object) -> dict[str, Any]:
    return {"type": [kind, "null"], **keywords}


def _object_schema(**properties: Any) -> dict[str, Any]:  # noqa: ANN401 - a JSON schema is anything
    return {"type": ["object", "null"], "properties": properties}


_INTEGER: Final = {"type": "integer"}
_STRING: Final = {"type": "string"}
_TIME: Final = _nullable_schema("string", format="date-time")


def _value_or_null(rng: random.Random, share: float, value: Any) -> Any:  # noqa: ANN401 - any value
    return value if rng.random() < share else None


def _random_amount(rng: random.Random, most: int) -> float:
    return rng.randrange(1, 100 * most) / 100 if rng.random() > 0.01 else rng.randrange(1, most)


def _random_time(rng: random.Random) -> str:
    return (_EPOCH + timedelta(seconds=rng.random() * _SECONDS)).isoformat()


def _random_person(rng: random.Random) -> tuple[str, str]:
    first, last = rng.choice(_NAMES), rng.choice(_SURNAMES)
    return f"{first} {last}", f"user{rng.randrange(10**6)}@example.com"


def _random_order(rng: random.Random) -> Record:
    name, email = _random_person(rng)
    return {
        "customerId": rng.randrange(1, 50_000),
        "customerName": name,
        "customerEmail": email,
        "orderStatus": rng.choice(_STATUSES),
        "couponCode": _value_or_null(rng, 0.1, f"SAVE-{rng.randrange(10**4):04}"),
        "itemCount": rng.randrange(1, 12),
        "totalAmount": _random_amount(rng, 900),
        "isGift": _value_or_null(rng, 0.9, rng.random() < 0.2),
        "orderedAt": _random_time(rng),
        "shippedAt": _value_or_null(rng, 0.7, _random_time(rng)),
        "deliveryDate": _value_or_null(rng, 0.6, _random_time(rng)[:10]),
    }


_ORDER_PROPERTIES: Final = {
    "orderId": _INTEGER,
    "customerId": _INTEGER,
    "customerName": _nullable_schema("string", maxLength=120),
    "customerEmail": _nullable_schema("string"),
    "orderStatus": _STRING,
    "couponCode": _nullable_schema("string"),
    "itemCount": _nullable_schema("integer", minimum=0),
    "totalAmount": _nullable_schema("number"),
    "isGift": _nullable_schema("boolean"),
    "orderedAt": _TIME,
    "shippedAt": _TIME,
    "deliveryDate": _nullable_schema("string", format="date"),
}


def _random_address(rng: random.Random) -> Record | None:
    if rng.random() < 0.05:
        return None
    return {
        "streetLine": f"{rng.choice(_SURNAMES)}straße {rng.randrange(1, 200)}",
        "postalCode": f"{rng.randrange(10**5):05}",
        "cityName": rng.choice(_CITIES),
        "countryCode": rng.choice(_COUNTRIES),
        "geoPoint": {
            "latitude": round(rng.uniform(-60, 70), 5),
            "longitude": round(rng.uniform(-180, 180), 5),
        },
    }


_ADDRESS: Final = _object_schema(
    streetLine=_nullable_schema("string"),
    postalCode=_nullable_schema("string"),
    cityName=_nullable_schema("string"),
    countryCode=_nullable_schema("string", maxLength=2),
    geoPoint=_object_schema(
        latitude=_nullable_schema("number"), longitude=_nullable_schema("number")
    ),
)


def _random_account(rng: random.Random) -> Record:
    name, email = _random_person(rng)
    first, _, last = name.partition(" ")
    return {
        "externalRef": f"{rng.getrandbits(64):016x}",
        "accountType": rng.choice(("free", "pro", "team")),
        "isActive": rng.random() < 0.9,
        "createdAt": _random_time(rng),
        "updatedAt": _random_time(rng),
        "deletedAt": _value_or_null(rng, 0.03, _random_time(rng)),
        "contact": {
            "firstName": first,
            "lastName": last,
            "emailAddress": email,
            "phoneNumber": _value_or_null(rng, 0.6, f"+49 {rng.randrange(10**9):09}"),
            "birthDate": _value_or_null(rng, 0.5, _random_time(rng)[:10]),
            "preferredLanguage": rng.choice(("de", "en", "fr", "pt")),
            "hasOptedIn": rng.random() < 0.4,
        },
        "billingAddress": _random_address(rng),
        "shippingAddress": _random_address(rng),
        "subscription": {
            "planCode": rng.choice(("basic-2021", "basic-2023", "plus")),
            "seatCount": rng.randrange(1, 250),
            "unitPrice": _random_amount(rng, 100),
            "discountRate": _value_or_null(rng, 0.2, rng.randrange(1, 60) / 100),
            "renewsOn": _value_or_null(rng, 0.8, _random_time(rng)[:10]),
            "isTrial": rng.random() < 0.1,
        },
        "usage": {
            "loginCount": rng.randrange(5000),
            "lastLoginAt": _value_or_null(rng, 0.8, _random_time(rng)),
            "storageBytes": rng.randrange(2**40),
            "averageSession": round(rng.uniform(1, 4000), 3),
        },
        "tagNames": rng.sample(_TAGS, rng.randrange(4)),
        "recentOrders": [
            {"orderId": rng.randrange(1, 10**6), "paid": rng.random() < 0.9}
            for _ in range(rng.randrange(3))
        ],
        "customAttributes": {f"field{n}": rng.choice(_TAGS) for n in range(rng.randrange(3))},
        "commentText": _value_or_null(rng, 0.3, " ".join(rng.choices(_TAGS + _CITIES, k=12))),
    }


_ACCOUNT_PROPERTIES: Final = {
    "accountId": _INTEGER,
    "externalRef": _STRING,
    "accountType": _nullable_schema("string"),
    "isActive": _nullable_schema("boolean"),
    "createdAt": _TIME,
    "updatedAt": _TIME,
    "deletedAt": _TIME,
    "contact": _object_schema(
        firstName=_nullable_schema("string"),
        lastName=_nullable_schema("string"),
        emailAddress=_nullable_schema("string"),
        phoneNumber=_nullable_schema("string"),
        birthDate=_nullable_schema("string", format="date"),
        preferredLanguage=_nullable_schema("string"),
        hasOptedIn=_nullable_schema("boolean"),
    ),
    "billingAddress": _ADDRESS,
    "shippingAddress": _ADDRESS,
    "subscription": _object_schema(
        planCode=_nullable_schema("string"),
        seatCount=_nullable_schema("integer"),
        unitPrice=_nullable_schema("number"),
        discountRate=_nullable_schema("number"),
        renewsOn=_nullable_schema("string", format="date"),
        isTrial=_nullable_schema("boolean"),
    ),
    "usage": _object_schema(
        loginCount=_nullable_schema("integer"),
        lastLoginAt=_TIME,
        storageBytes=_nullable_schema("integer"),
        averageSession=_nullable_schema("number"),
    ),
    "tagNames": _nullable_schema("array", items=_STRING),
    "recentOrders": _nullable_schema(
        "array",
        items={
            "type": "object",
            "properties": {"orderId": _INTEGER, "paid": {"type": "boolean"}},
        },
    ),
    "customAttributes": _nullable_schema("object"),
    "commentText": _nullable_schema("string"),
}


def _generate_sentences(count: int) -> list[str]:
    """Generate sentences with word frequencies like those of a natural language.

    They compress like English prose, in size and in time.
    """
    rng = random.Random(SEED)  # noqa: S311 - not for security
    onsets = (
        "b",
        "d",
        "f",
        "g",
        "k",
        "l",
        "m",
        "n",
        "p",
        "r",
        "s",
        "t",
        "v",
        "z",
        "ch",
        "st",
        "th",
    )
    endings = ("a", "e", "i", "o", "u", "en", "ar", "ing", "er")
    syllables = [onset + ending for onset in (*onsets, "") for ending in endings] + ["né"]
    words = ["".join(rng.choices(syllables, k=rng.randrange(1, 5))) for _ in range(6000)]
    weights = [1 / (rank + 2) for rank in range(len(words))]
    chosen = iter(rng.choices(words, weights, k=count * 14))
    sentences = []
    for _ in range(count):
        text = " ".join(next(chosen) for _ in range(rng.randrange(6, 15)))
        sentences.append(rng.choice((f"{text}. ", f"{text}, ", f"“{text}!” ", f"{text}.\n\n")))
    return sentences


_ARTICLE_CHARACTERS: Final = 10_000
_SENTENCES: Final = _generate_sentences(15_000)  # few repeat within the 32 KB window of gzip


def _random_article(rng: random.Random) -> Record:
    body = "".join(rng.choices(_SENTENCES, k=_ARTICLE_CHARACTERS // 60))[:_ARTICLE_CHARACTERS]
    return {
        "headline": rng.choice(_SENTENCES)[:80],
        "authorName": _random_person(rng)[0],
        "publishedAt": _random_time(rng),
        "wordCount": len(body) // 6,
        "bodyText": body,
    }


_ARTICLE_PROPERTIES: Final = {
    "articleId": _INTEGER,
    "headline": _nullable_schema("string"),
    "authorName": _nullable_schema("string"),
    "publishedAt": _TIME,
    "wordCount": _nullable_schema("integer"),
    "bodyText": _nullable_schema("string"),
}

A: Final = Shape(
    "A",
    "12 flat fields with dates",
    "salesOrders",
    "orderId",
    _ORDER_PROPERTIES,
    _random_order,
    200_000,
)
B: Final = Shape(
    "B",
    "40 fields, most of them nested",
    "customerAccounts",
    "accountId",
    _ACCOUNT_PROPERTIES,
    _random_account,
    50_000,
)
C: Final = Shape(
    "C",
    "10 KB of text",
    "pressArticles",
    "articleId",
    _ARTICLE_PROPERTIES,
    _random_article,
    20_000,
)
SHAPES: Final = (A, B, C)
