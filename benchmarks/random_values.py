"""Values and schemas that the inputs have in common."""

# ruff: noqa: PLR2004 - generated values consist of numbers

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import random

EPOCH: Final = datetime(2021, 1, 1, tzinfo=timezone.utc)
SECONDS: Final = 5 * 365 * 24 * 3600

NAMES: Final = (
    *("Anna", "Bjørn", "Chloé", "David", "Elif", "François", "Grace", "Håkon", "Inés", "José"),
    *("Kateřina", "Liam", "Małgorzata", "Noor", "Olga", "Pedro", "Quinn", "Renée", "Søren", "Zoë"),
)
SURNAMES: Final = (
    *("Almeida", "Brown", "Çelik", "Dvořák", "Eriksson", "Fischer", "García", "Hernández", "Ito"),
    *("Jensen", "Kowalski", "López", "Müller", "Nguyễn", "O'Neill", "Papadopoulos", "Rossi"),
)
CITIES: Final = ("Bonn", "Kraków", "Lisboa", "Malmö", "München", "Oslo", "São Paulo", "York")
COUNTRIES: Final = ("BR", "DE", "GB", "NO", "PL", "PT", "SE")
STATUSES: Final = ("pending", "paid", "packed", "shipped", "delivered", "returned")
TAGS: Final = ("new", "vip", "b2b", "newsletter", "churn-risk", "beta", "référence")


def nullable_schema(kind: str, **keywords: object) -> dict[str, Any]:
    """Return the schema of values of a type, or null."""
    return {"type": [kind, "null"], **keywords}


def object_schema(**properties: Any) -> dict[str, Any]:  # noqa: ANN401 - a JSON schema is anything
    """Return the schema of an object with properties, or null."""
    return {"type": ["object", "null"], "properties": properties}


INTEGER: Final = {"type": "integer"}
STRING: Final = {"type": "string"}
TIME: Final = nullable_schema("string", format="date-time")


def value_or_null(rng: random.Random, share: float, value: Any) -> Any:  # noqa: ANN401 - any value
    """Return the value with a probability, else None."""
    return value if rng.random() < share else None


def random_amount(rng: random.Random, most: int) -> float:
    """Return an amount of money; a few are whole."""
    return rng.randrange(1, 100 * most) / 100 if rng.random() > 0.01 else rng.randrange(1, most)


def random_time(rng: random.Random) -> str:
    """Return a time as the SDK's taps write it."""
    return (EPOCH + timedelta(seconds=rng.random() * SECONDS)).isoformat()


def random_person(rng: random.Random) -> tuple[str, str]:
    """Return a name and an email address."""
    first, last = rng.choice(NAMES), rng.choice(SURNAMES)
    return f"{first} {last}", f"user{rng.randrange(10**6)}@example.com"
