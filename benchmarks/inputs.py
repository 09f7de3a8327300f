"""The inputs: Singer files made from a seed, so that the same ones can be made anywhere.

A is narrow (12 flat fields with dates), B is wide (40 fields, most of them nested), C is long
(10 KB of text). They are like what taps send: names in camel case, nulls, fractions, accents,
lines as the SDK's taps write them, a STATE now and then. One record in fifty is a later version of
an earlier one, so that merging has something to do.

Numbers have no more digits than a float keeps, and no whole number is written with a point: the
plain target could not follow.
"""

# ruff: noqa: PLR2004 - what is made up is made of numbers, and they are named by their fields

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
_VERSIONS: Final = 0.02  # of the records: new versions of earlier ones
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
    """One kind of record.

    Attributes:
        letter: Its short name.
        title: What it is like.
        stream: The stream's name.
        key: The key property.
        properties: The properties' JSON schemas.
        values: Makes a record's values but for the key.
        records: How many there are in a run at full scale.
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


def write(path: Path, shape: Shape, records: int, *, streams: int = 1, seed: int = SEED) -> None:
    """Write a Singer file.

    Args:
        path: The file to make.
        shape: What its records are like.
        records: How many, all streams together.
        streams: How many streams take turns.
        seed: The same seed, the same bytes.
    """
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines(shape, records, streams=streams, seed=seed))


def unzip(source: Path, path: Path) -> int:
    """Write what a gzipped Singer file holds, and return its number of records."""
    content = gzip.decompress(source.read_bytes())
    path.write_bytes(content)
    return sum(line.startswith(b'{"type":"RECORD"') for line in content.splitlines())


def lines(shape: Shape, records: int, *, streams: int = 1, seed: int = SEED) -> Iterator[str]:
    """Yield the lines of a Singer file; for the arguments, see `write`."""
    rng = random.Random(seed)  # noqa: S311 - nothing here is a secret
    names = [shape.stream] if streams == 1 else list(_stream_names(shape.stream, streams))
    for name in names:
        yield _line(
            {
                "type": "SCHEMA",
                "stream": name,
                "schema": shape.schema,
                "key_properties": [shape.key],
            }
        )
    for number in range(records):
        turn, stream = divmod(number, streams)
        key = rng.randrange(turn) + 1 if turn and rng.random() < _VERSIONS else turn + 1
        yield _line(
            {
                "type": "RECORD",
                "stream": names[stream],
                "record": {shape.key: key, **shape.values(rng)},
                "time_extracted": f"{_EPOCH + timedelta(microseconds=number):%Y-%m-%dT%H:%M:%S.%f}"
                "+00:00",
            }
        )
        if (number + 1) % RECORDS_PER_STATE == 0 or number + 1 == records:
            yield _line({"type": "STATE", "value": {"bookmarks": {name: {"seen": number + 1}}}})


def _line(message: Record) -> str:
    return json.dumps(message, separators=(",", ":")) + "\n"


def _stream_names(stream: str, count: int) -> Iterator[str]:
    """Yield names without digits, which a collection's name would have to spell."""
    for number in range(count):
        first, second = divmod(number, 26)
        yield f"{stream}_{chr(ord('a') + first)}{chr(ord('a') + second)}"


# Schemas and values


def _nullable(kind: str, **keywords: object) -> dict[str, Any]:
    return {"type": [kind, "null"], **keywords}


def _object(**properties: Any) -> dict[str, Any]:  # noqa: ANN401 - a JSON schema is anything
    return {"type": ["object", "null"], "properties": properties}


_INTEGER: Final = {"type": "integer"}
_TEXT: Final = {"type": "string"}
_TIME: Final = _nullable("string", format="date-time")


def _sometimes(rng: random.Random, share: float, value: Any) -> Any:  # noqa: ANN401 - any value
    return value if rng.random() < share else None


def _money(rng: random.Random, most: int) -> float:
    return rng.randrange(1, 100 * most) / 100 if rng.random() > 0.01 else rng.randrange(1, most)


def _time(rng: random.Random) -> str:
    return (_EPOCH + timedelta(seconds=rng.random() * _SECONDS)).isoformat()


def _person(rng: random.Random) -> tuple[str, str]:
    first, last = rng.choice(_NAMES), rng.choice(_SURNAMES)
    return f"{first} {last}", f"user{rng.randrange(10**6)}@example.com"


def _order(rng: random.Random) -> Record:
    name, email = _person(rng)
    return {
        "customerId": rng.randrange(1, 50_000),
        "customerName": name,
        "customerEmail": email,
        "orderStatus": rng.choice(_STATUSES),
        "couponCode": _sometimes(rng, 0.1, f"SAVE-{rng.randrange(10**4):04}"),
        "itemCount": rng.randrange(1, 12),
        "totalAmount": _money(rng, 900),
        "isGift": _sometimes(rng, 0.9, rng.random() < 0.2),
        "orderedAt": _time(rng),
        "shippedAt": _sometimes(rng, 0.7, _time(rng)),
        "deliveryDate": _sometimes(rng, 0.6, _time(rng)[:10]),
    }


_ORDER_PROPERTIES: Final = {
    "orderId": _INTEGER,
    "customerId": _INTEGER,
    "customerName": _nullable("string", maxLength=120),
    "customerEmail": _nullable("string"),
    "orderStatus": _TEXT,
    "couponCode": _nullable("string"),
    "itemCount": _nullable("integer", minimum=0),
    "totalAmount": _nullable("number"),
    "isGift": _nullable("boolean"),
    "orderedAt": _TIME,
    "shippedAt": _TIME,
    "deliveryDate": _nullable("string", format="date"),
}


def _address(rng: random.Random) -> Record | None:
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


_ADDRESS: Final = _object(
    streetLine=_nullable("string"),
    postalCode=_nullable("string"),
    cityName=_nullable("string"),
    countryCode=_nullable("string", maxLength=2),
    geoPoint=_object(latitude=_nullable("number"), longitude=_nullable("number")),
)


def _account(rng: random.Random) -> Record:
    name, email = _person(rng)
    first, _, last = name.partition(" ")
    return {
        "externalRef": f"{rng.getrandbits(64):016x}",
        "accountType": rng.choice(("free", "pro", "team")),
        "isActive": rng.random() < 0.9,
        "createdAt": _time(rng),
        "updatedAt": _time(rng),
        "deletedAt": _sometimes(rng, 0.03, _time(rng)),
        "contact": {
            "firstName": first,
            "lastName": last,
            "emailAddress": email,
            "phoneNumber": _sometimes(rng, 0.6, f"+49 {rng.randrange(10**9):09}"),
            "birthDate": _sometimes(rng, 0.5, _time(rng)[:10]),
            "preferredLanguage": rng.choice(("de", "en", "fr", "pt")),
            "hasOptedIn": rng.random() < 0.4,
        },
        "billingAddress": _address(rng),
        "shippingAddress": _address(rng),
        "subscription": {
            "planCode": rng.choice(("basic-2021", "basic-2023", "plus")),
            "seatCount": rng.randrange(1, 250),
            "unitPrice": _money(rng, 100),
            "discountRate": _sometimes(rng, 0.2, rng.randrange(1, 60) / 100),
            "renewsOn": _sometimes(rng, 0.8, _time(rng)[:10]),
            "isTrial": rng.random() < 0.1,
        },
        "usage": {
            "loginCount": rng.randrange(5000),
            "lastLoginAt": _sometimes(rng, 0.8, _time(rng)),
            "storageBytes": rng.randrange(2**40),
            "averageSession": round(rng.uniform(1, 4000), 3),
        },
        "tagNames": rng.sample(_TAGS, rng.randrange(4)),
        "recentOrders": [
            {"orderId": rng.randrange(1, 10**6), "paid": rng.random() < 0.9}
            for _ in range(rng.randrange(3))
        ],
        "customAttributes": {f"field{n}": rng.choice(_TAGS) for n in range(rng.randrange(3))},
        "commentText": _sometimes(rng, 0.3, " ".join(rng.choices(_TAGS + _CITIES, k=12))),
    }


_ACCOUNT_PROPERTIES: Final = {
    "accountId": _INTEGER,
    "externalRef": _TEXT,
    "accountType": _nullable("string"),
    "isActive": _nullable("boolean"),
    "createdAt": _TIME,
    "updatedAt": _TIME,
    "deletedAt": _TIME,
    "contact": _object(
        firstName=_nullable("string"),
        lastName=_nullable("string"),
        emailAddress=_nullable("string"),
        phoneNumber=_nullable("string"),
        birthDate=_nullable("string", format="date"),
        preferredLanguage=_nullable("string"),
        hasOptedIn=_nullable("boolean"),
    ),
    "billingAddress": _ADDRESS,
    "shippingAddress": _ADDRESS,
    "subscription": _object(
        planCode=_nullable("string"),
        seatCount=_nullable("integer"),
        unitPrice=_nullable("number"),
        discountRate=_nullable("number"),
        renewsOn=_nullable("string", format="date"),
        isTrial=_nullable("boolean"),
    ),
    "usage": _object(
        loginCount=_nullable("integer"),
        lastLoginAt=_TIME,
        storageBytes=_nullable("integer"),
        averageSession=_nullable("number"),
    ),
    "tagNames": _nullable("array", items=_TEXT),
    "recentOrders": _nullable(
        "array",
        items={
            "type": "object",
            "properties": {"orderId": _INTEGER, "paid": {"type": "boolean"}},
        },
    ),
    "customAttributes": _nullable("object"),
    "commentText": _nullable("string"),
}


def _sentences(count: int) -> list[str]:
    """Make sentences whose words are as unequal as a language's are.

    Compressors do with them what they do with English prose, in size and in time.
    """
    rng = random.Random(SEED)  # noqa: S311 - nothing here is a secret
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
    made = []
    for _ in range(count):
        text = " ".join(next(chosen) for _ in range(rng.randrange(6, 15)))
        made.append(rng.choice((f"{text}. ", f"{text}, ", f"“{text}!” ", f"{text}.\n\n")))
    return made


_ARTICLE_CHARACTERS: Final = 10_000
_SENTENCES: Final = _sentences(15_000)  # so many that few come twice within gzip's 32 KB


def _article(rng: random.Random) -> Record:
    body = "".join(rng.choices(_SENTENCES, k=_ARTICLE_CHARACTERS // 60))[:_ARTICLE_CHARACTERS]
    return {
        "headline": rng.choice(_SENTENCES)[:80],
        "authorName": _person(rng)[0],
        "publishedAt": _time(rng),
        "wordCount": len(body) // 6,
        "bodyText": body,
    }


_ARTICLE_PROPERTIES: Final = {
    "articleId": _INTEGER,
    "headline": _nullable("string"),
    "authorName": _nullable("string"),
    "publishedAt": _TIME,
    "wordCount": _nullable("integer"),
    "bodyText": _nullable("string"),
}

A: Final = Shape(
    "A",
    "12 flat fields with dates",
    "salesOrders",
    "orderId",
    _ORDER_PROPERTIES,
    _order,
    200_000,
)
B: Final = Shape(
    "B",
    "40 fields, most of them nested",
    "customerAccounts",
    "accountId",
    _ACCOUNT_PROPERTIES,
    _account,
    50_000,
)
C: Final = Shape(
    "C",
    "10 KB of text",
    "pressArticles",
    "articleId",
    _ARTICLE_PROPERTIES,
    _article,
    20_000,
)
SHAPES: Final = (A, B, C)
