"""The inputs: Singer files generated from a seed, the same on every machine.

A has 12 flat fields with dates, B has 40 fields, most of them nested, C has 10 KB of text. D is
what API taps write: see `api_shape`. They resemble the output of real taps: names in camel case,
nulls, fractions, accents, lines as the SDK's taps write them, and STATEs. One record in fifty is a
later version of an earlier one, so that something is merged.

Numbers have no more digits than a float keeps, and no whole number is written with a point, because
the plain SDK target does not preserve these.
"""

# ruff: noqa: PLR2004 - generated values consist of numbers, and their fields name them

from __future__ import annotations

import gzip
import itertools
import json
import random
from dataclasses import dataclass
from datetime import timedelta
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any, Final

from benchmarks import api_shape
from benchmarks.random_values import (
    CITIES,
    COUNTRIES,
    EPOCH,
    INTEGER,
    STATUSES,
    STRING,
    SURNAMES,
    TAGS,
    TIME,
    nullable_schema,
    object_schema,
    random_amount,
    random_person,
    random_time,
    value_or_null,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Record = dict[str, Any]

SEED: Final = 20241
RECORDS_PER_STATE: Final = 10_000
_UPDATE_SHARE: Final = 0.02  # records that are new versions of earlier ones


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
        streams: Number of streams, whose records alternate.
        has_keyless: Whether every other stream has no key properties.
    """

    letter: str
    title: str
    stream: str
    key: str
    properties: Mapping[str, Any]
    values: Callable[[random.Random], Record]
    records: int
    streams: int = 1
    has_keyless: bool = False

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
    for number, name in enumerate(names):
        keys = [] if shape.has_keyless and number % 2 else [shape.key]
        yield _format_line(
            {"type": "SCHEMA", "stream": name, "schema": shape.schema, "key_properties": keys}
        )
    for number in range(records):
        turn, stream = divmod(number, streams)
        key = rng.randrange(turn) + 1 if turn and rng.random() < _UPDATE_SHARE else turn + 1
        yield _format_line(
            {
                "type": "RECORD",
                "stream": names[stream],
                "record": {shape.key: key, **shape.values(rng)},
                "time_extracted": f"{EPOCH + timedelta(microseconds=number):%Y-%m-%dT%H:%M:%S.%f}"
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
    length = 2 if count <= len(ascii_lowercase) ** 2 else 3
    for letters in itertools.islice(itertools.product(ascii_lowercase, repeat=length), count):
        yield f"{stream}_{''.join(letters)}"


# Schemas and values


def _random_order(rng: random.Random) -> Record:
    name, email = random_person(rng)
    return {
        "customerId": rng.randrange(1, 50_000),
        "customerName": name,
        "customerEmail": email,
        "orderStatus": rng.choice(STATUSES),
        "couponCode": value_or_null(rng, 0.1, f"SAVE-{rng.randrange(10**4):04}"),
        "itemCount": rng.randrange(1, 12),
        "totalAmount": random_amount(rng, 900),
        "isGift": value_or_null(rng, 0.9, rng.random() < 0.2),
        "orderedAt": random_time(rng),
        "shippedAt": value_or_null(rng, 0.7, random_time(rng)),
        "deliveryDate": value_or_null(rng, 0.6, random_time(rng)[:10]),
    }


_ORDER_PROPERTIES: Final = {
    "orderId": INTEGER,
    "customerId": INTEGER,
    "customerName": nullable_schema("string", maxLength=120),
    "customerEmail": nullable_schema("string"),
    "orderStatus": STRING,
    "couponCode": nullable_schema("string"),
    "itemCount": nullable_schema("integer", minimum=0),
    "totalAmount": nullable_schema("number"),
    "isGift": nullable_schema("boolean"),
    "orderedAt": TIME,
    "shippedAt": TIME,
    "deliveryDate": nullable_schema("string", format="date"),
}


def _random_address(rng: random.Random) -> Record | None:
    if rng.random() < 0.05:
        return None
    return {
        "streetLine": f"{rng.choice(SURNAMES)}straße {rng.randrange(1, 200)}",
        "postalCode": f"{rng.randrange(10**5):05}",
        "cityName": rng.choice(CITIES),
        "countryCode": rng.choice(COUNTRIES),
        "geoPoint": {
            "latitude": round(rng.uniform(-60, 70), 5),
            "longitude": round(rng.uniform(-180, 180), 5),
        },
    }


_ADDRESS: Final = object_schema(
    streetLine=nullable_schema("string"),
    postalCode=nullable_schema("string"),
    cityName=nullable_schema("string"),
    countryCode=nullable_schema("string", maxLength=2),
    geoPoint=object_schema(latitude=nullable_schema("number"), longitude=nullable_schema("number")),
)


def _random_account(rng: random.Random) -> Record:
    name, email = random_person(rng)
    first, _, last = name.partition(" ")
    return {
        "externalRef": f"{rng.getrandbits(64):016x}",
        "accountType": rng.choice(("free", "pro", "team")),
        "isActive": rng.random() < 0.9,
        "createdAt": random_time(rng),
        "updatedAt": random_time(rng),
        "deletedAt": value_or_null(rng, 0.03, random_time(rng)),
        "contact": {
            "firstName": first,
            "lastName": last,
            "emailAddress": email,
            "phoneNumber": value_or_null(rng, 0.6, f"+49 {rng.randrange(10**9):09}"),
            "birthDate": value_or_null(rng, 0.5, random_time(rng)[:10]),
            "preferredLanguage": rng.choice(("de", "en", "fr", "pt")),
            "hasOptedIn": rng.random() < 0.4,
        },
        "billingAddress": _random_address(rng),
        "shippingAddress": _random_address(rng),
        "subscription": {
            "planCode": rng.choice(("basic-2021", "basic-2023", "plus")),
            "seatCount": rng.randrange(1, 250),
            "unitPrice": random_amount(rng, 100),
            "discountRate": value_or_null(rng, 0.2, rng.randrange(1, 60) / 100),
            "renewsOn": value_or_null(rng, 0.8, random_time(rng)[:10]),
            "isTrial": rng.random() < 0.1,
        },
        "usage": {
            "loginCount": rng.randrange(5000),
            "lastLoginAt": value_or_null(rng, 0.8, random_time(rng)),
            "storageBytes": rng.randrange(2**40),
            "averageSession": round(rng.uniform(1, 4000), 3),
        },
        "tagNames": rng.sample(TAGS, rng.randrange(4)),
        "recentOrders": [
            {"orderId": rng.randrange(1, 10**6), "paid": rng.random() < 0.9}
            for _ in range(rng.randrange(3))
        ],
        "customAttributes": {f"field{n}": rng.choice(TAGS) for n in range(rng.randrange(3))},
        "commentText": value_or_null(rng, 0.3, " ".join(rng.choices(TAGS + CITIES, k=12))),
    }


_ACCOUNT_PROPERTIES: Final = {
    "accountId": INTEGER,
    "externalRef": STRING,
    "accountType": nullable_schema("string"),
    "isActive": nullable_schema("boolean"),
    "createdAt": TIME,
    "updatedAt": TIME,
    "deletedAt": TIME,
    "contact": object_schema(
        firstName=nullable_schema("string"),
        lastName=nullable_schema("string"),
        emailAddress=nullable_schema("string"),
        phoneNumber=nullable_schema("string"),
        birthDate=nullable_schema("string", format="date"),
        preferredLanguage=nullable_schema("string"),
        hasOptedIn=nullable_schema("boolean"),
    ),
    "billingAddress": _ADDRESS,
    "shippingAddress": _ADDRESS,
    "subscription": object_schema(
        planCode=nullable_schema("string"),
        seatCount=nullable_schema("integer"),
        unitPrice=nullable_schema("number"),
        discountRate=nullable_schema("number"),
        renewsOn=nullable_schema("string", format="date"),
        isTrial=nullable_schema("boolean"),
    ),
    "usage": object_schema(
        loginCount=nullable_schema("integer"),
        lastLoginAt=TIME,
        storageBytes=nullable_schema("integer"),
        averageSession=nullable_schema("number"),
    ),
    "tagNames": nullable_schema("array", items=STRING),
    "recentOrders": nullable_schema(
        "array",
        items={
            "type": "object",
            "properties": {"orderId": INTEGER, "paid": {"type": "boolean"}},
        },
    ),
    "customAttributes": nullable_schema("object"),
    "commentText": nullable_schema("string"),
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
        "authorName": random_person(rng)[0],
        "publishedAt": random_time(rng),
        "wordCount": len(body) // 6,
        "bodyText": body,
    }


_ARTICLE_PROPERTIES: Final = {
    "articleId": INTEGER,
    "headline": nullable_schema("string"),
    "authorName": nullable_schema("string"),
    "publishedAt": TIME,
    "wordCount": nullable_schema("integer"),
    "bodyText": nullable_schema("string"),
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
D: Final = Shape(
    "D",
    "what API taps write",
    "supportTickets",
    "ticketNumber",
    api_shape.PROPERTIES,
    api_shape.random_ticket,
    100_000,
    streams=8,
    has_keyless=True,
)
SHAPES: Final = (A, B, C, D)
