"""Events of object stores: which objects a message names. What happened to them, only a look tells.

Read are the notifications of S3 and of what speaks as it does (MinIO), of Google Cloud Storage by
Pub/Sub and of Azure by Event Grid, bare or as the queues between wrap them.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, unquote_plus, urlsplit

# SNS in SQS in an event of Lambda is four; what is deeper is no message.
DEEPEST = 8
# Of what a message, or a part of one, may be wrapped in.
_WRAPPINGS = ("Records", "Messages", "messages", "receivedMessages", "Body", "body", "Message")
_MORE_WRAPPINGS = ("Sns", "message", "data")
_AZURE = "/blobServices/default/containers/"


class UnknownMessage(ValueError):  # noqa: N818 (named after what it is)
    """A message that names no object in a form that is known."""


def references_of(line: str) -> list[str]:
    """The objects that a message names, as ``s3://bucket/key``, ``gs://`` or ``az://``.

    None, where it says that there is nothing to say, such as S3's first one of all.

    Raises:
        UnknownMessage: saying what is wrong with it, and nothing of what is in it.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise UnknownMessage("it is no JSON") from exc
    found = list(dict.fromkeys(_within(message, DEEPEST)))
    if not found and not _is_test(message):
        raise UnknownMessage("it is no event of S3, MinIO, Google Cloud Storage or Azure")
    return found


def _within(message: Any, depth: int) -> Iterator[str]:
    if depth == 0:
        return
    if isinstance(message, str):
        yield from _within(_parsed(message), depth - 1)
    elif isinstance(message, list):
        for one in message:
            yield from _within(one, depth - 1)
    elif isinstance(message, Mapping):
        for read in _READERS:
            if found := read(message):
                yield from found
                return
        for name in (*_WRAPPINGS, *_MORE_WRAPPINGS):
            yield from _within(message.get(name), depth - 1)


def _parsed(text: str) -> Any:
    """What a text holds that holds another message: JSON, or that in base64; else None."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error, RecursionError):
        return None


def _is_test(message: Any) -> bool:
    """What S3 sends when notifications are set up."""
    while isinstance(message, Mapping) and "Event" not in message:
        inner = message.get("Body", message.get("Message"))
        message = _parsed(inner) if isinstance(inner, str) else None
    return isinstance(message, Mapping) and message.get("Event") == "s3:TestEvent"


# -- one reader a kind of event ------------------------------------------------------------------


def _s3(message: Mapping[str, Any]) -> list[str]:
    """S3's own record, and MinIO's; the key is encoded as in a form."""
    key = _at(message, "s3", "object", "key")
    return _named("s3", _at(message, "s3", "bucket", "name"), key and unquote_plus(key))


def _event_bridge(message: Mapping[str, Any]) -> list[str]:
    """The key is as it is."""
    if message.get("source") != "aws.s3":
        return []
    key = _at(message, "detail", "object", "key")
    return _named("s3", _at(message, "detail", "bucket", "name"), key)


def _pub_sub(message: Mapping[str, Any]) -> list[str]:
    bucket = _at(message, "attributes", "bucketId")
    return _named("gs", bucket, _at(message, "attributes", "objectId"))


def _storage_object(message: Mapping[str, Any]) -> list[str]:
    """Google's description of an object, which Pub/Sub has as its data."""
    if message.get("kind") != "storage#object":
        return []
    return _named("gs", _at(message, "bucket"), _at(message, "name"))


def _event_grid(message: Mapping[str, Any]) -> list[str]:
    """In Event Grid's own schema, and in that of CloudEvents; of a rename both ends."""
    subject = _at(message, "subject") or ""
    kind = _at(message, "eventType") or _at(message, "type") or ""
    if not (kind.startswith("Microsoft.Storage.") and subject.startswith(_AZURE)):
        return []
    container, _, key = subject.removeprefix(_AZURE).partition("/blobs/")
    old = urlsplit(_at(message, "data", "sourceUrl") or "").path
    _, _, old_key = unquote(old).partition(f"/{container}/")
    return _named("az", container, key) + _named("az", container, old_key)


_READERS: tuple[Callable[[Mapping[str, Any]], list[str]], ...] = (
    _s3,
    _event_bridge,
    _pub_sub,
    _storage_object,
    _event_grid,
)


def _at(message: Any, *names: str) -> str | None:
    """The text under these names, one in another."""
    for name in names:
        message = message.get(name) if isinstance(message, Mapping) else None
    return message if isinstance(message, str) else None


def _named(scheme: str, bucket: str | None, key: str | None) -> list[str]:
    return [f"{scheme}://{bucket}/{key}"] if bucket and key else []
