"""Objects of S3, Google Cloud Storage and Azure, from the buckets that a setting names.

One library (obstore) speaks all three. It runs in an event loop of its own, in one thread, so
that a request can be given up at the deadline wherever it is. Credentials come from the usual
environment of each store; nothing of them, and nothing the store says, is put into a message
without being redacted.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator
from datetime import UTC, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import (
    MissingExtra,
    PermanentRowError,
    RowError,
    TransientRowError,
)
from pipeline.loaders.content import Deadline, too_large
from pipeline.loaders.listed import PAGE, ListedObject
from pipeline.loaders.options import LoadOptions
from pipeline.loaders.places import Place, allowed_places
from pipeline.references import STORES, printable, redact_message

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

    Store = S3Store | GCSStore | AzureStore

_EXTRAS = {"s3": "s3", "gs": "gcs", "az": "azure"}
_T = TypeVar("_T")


class ObjectLoader:
    """Reads objects from allowed buckets; one client per bucket, kept."""

    schemes: tuple[str, ...] = STORES

    def __init__(self, options: LoadOptions) -> None:
        self._max_bytes = options.max_bytes
        self._timeout = options.load_timeout_seconds
        self._connect_timeout = options.connect_timeout_seconds
        self._allowed = allowed_places(options)
        self._stores: dict[tuple[str, str], Store] = {}
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def load(self, ref: str, deadline: Deadline) -> tuple[bytes, dict[str, Any]]:
        store, key = self._locate(ref)
        return self._wait(self._get(store, key), deadline)

    def stat(self, ref: str, deadline: Deadline) -> dict[str, Any]:
        store, key = self._locate(ref)
        return self._wait(self._head(store, key), deadline)

    def pages(self, prefix: str, after: str | None = None) -> Iterator[list[ListedObject]]:
        """What is below ``scheme://bucket/prefix``, in the order of its store, a request a page.

        Args:
            after: go on behind this key.

        Raises:
            RowError: as of one reference; with what it gave until then the listing is not whole.
        """
        place = Place.of(prefix)
        store = self._store_of(place)
        obstore = import_module("obstore")
        below = place.key.rstrip("/") + "/" if place.key.rstrip("/") else None
        stream = obstore.list(store, prefix=below, offset=after, chunk_size=PAGE)
        while page := self._wait(_next_page(stream), Deadline(self._timeout)):
            yield [ListedObject.of(meta, _notes(meta)) for meta in page]

    def close(self) -> None:
        with self._lock:
            loop, self._loop = self._loop, None
            self._stores.clear()
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)

    async def _get(self, store: "Store", key: str) -> tuple[bytes, dict[str, Any]]:
        obstore = import_module("obstore")
        result = await obstore.get_async(store, key)
        notes = _notes(result.meta)
        if notes["size"] > self._max_bytes:
            raise too_large(notes["size"], self._max_bytes)
        if kind := result.attributes.get("Content-Type"):
            notes["content_type"] = printable(kind.partition(";")[0].strip()[:100])
        data = bytearray()
        async for part in result.stream(min_chunk_size=2**20):
            data += part
            if len(data) > self._max_bytes:
                raise too_large(None, self._max_bytes)
        return bytes(data), notes

    async def _head(self, store: "Store", key: str) -> dict[str, Any]:
        return _notes(await import_module("obstore").head_async(store, key))

    def _wait(self, work: Coroutine[Any, Any, _T], deadline: Deadline) -> _T:
        future = asyncio.run_coroutine_threadsafe(work, self._running_loop())
        try:
            return future.result(deadline.left())
        except TimeoutError as exc:
            future.cancel()
            raise deadline.passed() from exc
        except RowError:
            future.cancel()
            raise
        except Exception as exc:
            raise _row_error(exc) from None  # its text may hold a signed URL

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_run, args=(self._loop,), name="stores", daemon=True
                ).start()
            return self._loop

    def _locate(self, ref: str) -> tuple["Store", str]:
        place = Place.of(ref)
        if not place.bucket or not place.key or place.key.endswith("/"):
            raise PermanentRowError("bad_reference", f"expected {place.scheme}://bucket/key")
        if any(part in {"", ".", ".."} for part in place.key.split("/")):
            raise PermanentRowError(
                "bad_reference", "an object key with an empty, '.' or '..' part is not supported"
            )
        return self._store_of(place), place.key

    def _store_of(self, place: Place) -> "Store":
        """The client of its bucket, if it is open to references."""
        if not any(allowed.contains(place) for allowed in self._allowed):
            raise PermanentRowError(
                "forbidden_bucket",
                f"{place.scheme}://{place.bucket} is not open to references (or not below this "
                "prefix); add it to PIPELINE_BUCKETS",
            )
        with self._lock:
            name = place.scheme, place.bucket
            if name not in self._stores:
                self._stores[name] = self._connect(place)
            return self._stores[name]

    def _connect(self, place: Place) -> "Store":
        try:
            stores = import_module("obstore.store")
        except ImportError as exc:
            missing = MissingExtra(f"{place.scheme}://", _EXTRAS[place.scheme])
            raise PermanentRowError("unsupported_scheme", str(missing)) from exc
        seconds = timedelta(seconds=self._timeout)
        options: dict[str, Any] = {
            "client_options": {
                "timeout": seconds,
                "connect_timeout": timedelta(seconds=self._connect_timeout),
            },
            "retry_config": {"max_retries": 3, "retry_timeout": seconds},
        }
        try:
            return _CONNECT[place.scheme](stores, place.bucket, options)
        except RowError:
            raise
        except Exception as exc:
            raise TransientRowError(
                "storage_error",
                f"no client for {place.scheme}://{place.bucket}: {redact_message(str(exc))}",
            ) from None


async def _next_page(stream: Any) -> Any:
    # Within the loop: what the stream gives is a future of the loop that runs.
    try:
        return await stream.__anext__()
    except StopAsyncIteration:
        return []


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    given_up = asyncio.all_tasks(loop)
    for task in given_up:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*given_up, return_exceptions=True))
    loop.close()


# -- the usual environment of each store ---------------------------------------------------------


def _s3(stores: Any, bucket: str, options: dict[str, Any]) -> "Store":
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config: dict[str, Any] = {}
    if endpoint:
        config["endpoint"] = endpoint
        _allow_http(options, endpoint)
    if provider := _boto3_credentials():
        options["credential_provider"] = provider
    store: Store = stores.S3Store(bucket, config=config, **options)
    return store


def _boto3_credentials() -> Any:
    """Profiles, SSO and credential processes, which only boto3 knows; None: the environment's."""
    if "AWS_ACCESS_KEY_ID" in os.environ or "AWS_SKIP_SIGNATURE" in os.environ:
        return None
    try:
        provider = import_module("obstore.auth.boto3").Boto3CredentialProvider
        return provider(import_module("boto3").Session())
    except (ImportError, ValueError):
        return None


def _gs(stores: Any, bucket: str, options: dict[str, Any]) -> "Store":
    config: dict[str, Any] = {}
    if emulator := os.environ.get("STORAGE_EMULATOR_HOST"):
        base = emulator if "://" in emulator else f"http://{emulator}"
        config = {"base_url": base.rstrip("/"), "skip_signature": True}
        _allow_http(options, base)
    store: Store = stores.GCSStore(bucket, config=config, **options)
    return store


def _az(stores: Any, bucket: str, options: dict[str, Any]) -> "Store":
    config: dict[str, Any] = {}
    fields = dict(
        field.split("=", 1)
        for field in os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "").split(";")
        if "=" in field
    )
    names = {
        "AccountName": "account_name",
        "AccountKey": "account_key",
        "BlobEndpoint": "endpoint",
        "SharedAccessSignature": "sas_key",
    }
    config = {names[key]: value for key, value in fields.items() if key in names}
    _allow_http(options, config.get("endpoint") or os.environ.get("AZURE_STORAGE_ENDPOINT", ""))
    store: Store = stores.AzureStore(bucket, config=config, **options)
    return store


def _allow_http(options: dict[str, Any], endpoint: str) -> None:
    if endpoint.lower().startswith("http://"):  # the operator's own choice, by the environment
        options["client_options"]["allow_http"] = True


_CONNECT = {"s3": _s3, "gs": _gs, "az": _az}


# -- answers -------------------------------------------------------------------------------------


def _notes(meta: Any) -> dict[str, Any]:
    notes: dict[str, Any] = {
        "size": int(meta["size"]),
        "mtime": meta["last_modified"].astimezone(UTC).isoformat(),
    }
    if meta.get("e_tag"):
        notes["etag"] = printable(str(meta["e_tag"])[:200])
    return notes


_ERRORS = {
    "FileNotFoundError": ("not_found", "no such object or bucket"),
    "PermissionDeniedError": ("permission_denied", "the store refuses to give this object"),
    "UnauthenticatedError": ("permission_denied", "the store does not accept the credentials"),
    "InvalidPathError": ("bad_reference", "not a usable object key"),
}
_BUSY = ("429", "503", "slowdown", "too many requests", "serverbusy")


def _row_error(exc: Exception) -> RowError:
    text = redact_message(" ".join(str(exc).partition("Debug source")[0].split()))
    for kind in type(exc).__mro__:
        if kind.__name__ in _ERRORS:
            code, said = _ERRORS[kind.__name__]
            # In a listing nobody asked for that key.
            return PermanentRowError(code, f"{said}: {text}" if code == "bad_reference" else said)
    if any(sign in text.lower() for sign in _BUSY):
        return TransientRowError("busy", f"the store is busy: {text}")
    return TransientRowError("storage_error", f"the store failed: {text}")
