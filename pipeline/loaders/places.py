"""Places in object stores, and which of them a setting opens to references."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.errors import ConfigurationError
from pipeline.loaders.options import LoadOptions
from pipeline.references import STORES, redact


@dataclass(frozen=True)
class Place:
    """``scheme://bucket/key``; as an entry of the allow-list the key is a prefix."""

    scheme: str
    bucket: str
    key: str

    @classmethod
    def of(cls, reference: str) -> "Place":
        """Without the two slashes nothing behind the scheme is taken for a bucket."""
        scheme, _, rest = reference.partition(":")
        bucket, _, key = rest[2:].partition("/") if rest.startswith("//") else ("", "", "")
        return cls(scheme.lower(), bucket, key)

    def contains(self, other: "Place") -> bool:
        prefix = self.key.rstrip("/")
        return (self.scheme, self.bucket) == (other.scheme, other.bucket) and (
            not prefix or other.key == prefix or other.key.startswith(prefix + "/")
        )


def allowed_places(options: LoadOptions) -> list[Place]:
    """The entries of the allow-list.

    Raises:
        ConfigurationError: naming an entry that is none.
    """
    places = [Place.of(entry) for entry in options.buckets]
    for entry, place in zip(options.buckets, places, strict=True):
        if place.scheme not in STORES or not place.bucket:
            raise ConfigurationError(
                f"PIPELINE_BUCKETS: {redact(entry)!r}; expected entries such as s3://bucket/prefix"
            )
    return places


def closed_buckets(references: Iterable[str], options: LoadOptions) -> list[str]:
    """The buckets of those references that no entry of ``PIPELINE_BUCKETS`` allows."""
    allowed = allowed_places(options)
    closed = [
        f"{place.scheme}://{place.bucket}"
        for place in map(Place.of, references)
        if place.scheme in STORES
        and place.bucket
        and not any(entry.contains(place) for entry in allowed)
    ]
    return list(dict.fromkeys(closed))
