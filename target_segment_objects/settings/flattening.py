"""The settings of flattening, which the SDK declares for its own.

Segment takes no objects, so the mapping flattens them in any case. The SDK's flattening, which
would come before it, is not used: it loses the nulls of objects.
"""

from typing import Annotated, Final

from msgspec import Meta

from target_segment_objects.mapping.mapper import MappingOptions
from target_segment_objects.settings.load import LoadSettings

_MIN_KEY_LENGTH: Final = 20
"""Room for the names of the metadata, of which `sdc_sync_started_at` is the longest."""


class FlatteningSettings(LoadSettings, frozen=True, kw_only=True):
    """The settings of a load with those of flattening, complete with their defaults."""

    flattening_enabled: Annotated[
        bool,
        Meta(
            title="Flattening options",
            description=(
                "Apply `flattening_max_depth` and `flattening_max_key_length`. Objects whose "
                "properties are declared are flattened in any case: Segment accepts no objects."
            ),
        ),
    ] = False
    flattening_max_depth: (
        Annotated[
            int,
            Meta(
                title="Maximum flattening depth",
                description=(
                    "With `flattening_enabled`, how many levels of objects are flattened. Objects "
                    "below are sent as JSON text; with 0, all are. No limit by default."
                ),
                ge=0,
            ),
        ]
        | None
    ) = None
    flattening_max_key_length: (
        Annotated[
            int,
            Meta(
                title="Maximum key length",
                description=(
                    "With `flattening_enabled`, the most characters of a property's name. The end "
                    "of a longer one is replaced by ten letters of a digest. No limit by default."
                ),
                ge=_MIN_KEY_LENGTH,
            ),
        ]
        | None
    ) = None
    flattening_separator: (
        Annotated[
            str,
            Meta(
                title="Flattening separator",
                description=(
                    "Has no effect: Segment's snake case joins the levels of a name by one "
                    "underscore."
                ),
            ),
        ]
        | None
    ) = None

    @property
    def mapping(self) -> MappingOptions:
        """The settings of the mapping."""
        return MappingOptions(
            null_properties=self.null_properties,
            oversized_values=self.oversized_values,
            max_depth=self.flattening_max_depth if self.flattening_enabled else None,
            max_name_length=self.flattening_max_key_length if self.flattening_enabled else None,
        )
