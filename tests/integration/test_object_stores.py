"""s3://, gs:// and az:// against real protocol servers on loopback.

S3: moto's server. Google Cloud Storage: gcp-storage-emulator. Azure: Azurite, a Node program
(``npm install -g azurite``), skipped where it is not installed. What these servers never do
(refuse, stall, cut short) comes from ``tests/helpers/http_server.py``.
"""

import base64
import hashlib
import hmac
import importlib
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigurationError, PermanentRowError, RowError, TransientRowError
from pipeline.loaders import Loader, LoadOptions
from tests.helpers import gcs_listing, http_server

BODY = b"picture " * 100
ODD_KEY = "dir/\u00fc #?%20+&=.jpg"


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the person who runs the tests reaches a store."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


def make(*buckets: str, **settings: Any) -> Loader:
    given = {"max_bytes": 100_000, "load_timeout_seconds": 20.0, **settings}
    return Loader(LoadOptions(buckets=buckets, **given))


def failure_of(loader: Loader, ref: str) -> RowError:
    with pytest.raises(RowError) as failure:
        loader.load(ref)
    assert "secret" not in failure.value.message
    return failure.value


def code_of(loader: Loader, ref: str) -> str:
    return failure_of(loader, ref).code


# -- S3 ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = pytest.importorskip("moto.server", reason="the dev dependency moto[server]")
    running = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def s3(moto: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The endpoint as AWS's own tools are told it; gives a client to put objects with."""
    boto3 = importlib.import_module("boto3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    client = boto3.client("s3", endpoint_url=moto, region_name="us-east-1")
    client.create_bucket(Bucket="pictures")
    for key in ("a.jpg", "open/a.jpg", "opened/a.jpg", ODD_KEY):
        client.put_object(Bucket="pictures", Key=key, Body=BODY, ContentType="image/jpeg")
    return client


def test_s3_objects_are_loaded_with_what_is_known_of_them(s3: Any) -> None:
    with make("s3://pictures") as loader:
        content = loader.load("s3://pictures/a.jpg")
        assert content.data == BODY
        assert content.sha256 == hashlib.sha256(BODY).digest()
        assert content.notes["etag"] == f'"{hashlib.md5(BODY).hexdigest()}"'
        assert content.notes["size"] == len(BODY)
        assert content.notes["content_type"] == "image/jpeg"
        assert datetime.fromisoformat(content.notes["mtime"]).tzinfo is not None
        assert loader.load(f"S3://pictures/{ODD_KEY}").data == BODY
        stat = loader.stat("s3://pictures/a.jpg")
        assert stat == {key: content.notes[key] for key in ("etag", "size", "mtime")}


def test_a_changed_s3_object_has_another_stat(s3: Any) -> None:
    with make("s3://pictures") as loader:
        before = loader.stat("s3://pictures/a.jpg")
        s3.put_object(Bucket="pictures", Key="a.jpg", Body=b"other")
        assert loader.stat("s3://pictures/a.jpg") != before
        assert loader.load("s3://pictures/a.jpg").data == b"other"


def test_s3_objects_that_cannot_be_loaded(s3: Any) -> None:
    s3.put_object(Bucket="pictures", Key="limit", Body=b"x" * 100_000)
    s3.put_object(Bucket="pictures", Key="over", Body=b"x" * 100_001)
    s3.put_object(Bucket="pictures", Key="empty", Body=b"")
    with make("s3://pictures", "s3://missing") as loader:
        assert len(loader.load("s3://pictures/limit").data) == 100_000
        assert code_of(loader, "s3://pictures/over") == "too_large"
        assert code_of(loader, "s3://pictures/empty") == "empty_file"
        assert code_of(loader, "s3://pictures/none") == "not_found"
        assert code_of(loader, "s3://missing/a.jpg") == "not_found"
        for ref in ("s3://", "s3://pictures", "s3://pictures/", "s3://pictures/dir/", "s3:a"):
            assert code_of(loader, ref) == "bad_reference", ref
        for ref in ("s3://pictures/../a", "s3://pictures/a//b", "s3://pictures/./a"):
            assert code_of(loader, ref) == "bad_reference", ref
        with pytest.raises(PermanentRowError) as failure:
            loader.stat("s3://pictures/none")
        assert failure.value.code == "not_found"


def test_only_listed_buckets_and_prefixes_are_read(s3: Any) -> None:
    with make("s3://pictures/open", "gs://pictures") as loader:
        assert loader.load("s3://pictures/open/a.jpg").data == BODY
        for ref in ("s3://pictures/a.jpg", "s3://pictures/opened/a.jpg", "s3://other/open/a.jpg"):
            failure = failure_of(loader, ref)
            assert failure.code == "forbidden_bucket"
            assert "PIPELINE_BUCKETS" in failure.message
    with make() as loader:
        assert code_of(loader, "s3://pictures/a.jpg") == "forbidden_bucket"


def test_a_presigned_url_is_loaded_and_leaves_no_signature(s3: Any) -> None:
    params = {"Bucket": "pictures", "Key": "a.jpg"}
    url = s3.generate_presigned_url("get_object", Params=params)
    assert "Signature=" in url
    with make(http_allow_private=("127.0.0.0/8",)) as loader:
        content = loader.load(url)
        assert content.data == BODY
        assert "ignature" not in repr(content.notes)
        missing = url.replace("a.jpg", "none.jpg")
        assert "ignature" not in failure_of(loader, missing).message


@pytest.mark.parametrize("entry", ["pictures", "s3://", "http://pictures", ""])
def test_a_bucket_setting_that_is_none_is_named(entry: str) -> None:
    with pytest.raises(ConfigurationError, match="PIPELINE_BUCKETS"):
        make(entry)


@pytest.mark.parametrize(("scheme", "extra"), [("s3", "s3"), ("gs", "gcs"), ("az", "azure")])
def test_a_missing_extra_says_how_to_get_it(
    scheme: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("pipeline.loaders.objects.import_module", missing)
    with make(f"{scheme}://pictures") as loader:
        failure = failure_of(loader, f"{scheme}://pictures/a.jpg")
    assert failure.code == "unsupported_scheme"
    assert f"pip install 'pgvector-crossmodal-pipeline[{extra}]'" in failure.message


# -- S3 that misbehaves --------------------------------------------------------------------------


def _denied(_: Any, __: Any, connection: socket.socket) -> bool:
    body = b"<Error><Code>AccessDenied</Code><Message>secret</Message></Error>"
    return http_server.answer(connection, "403 Forbidden", body)


def _slow_down(_: Any, __: Any, connection: socket.socket) -> bool:
    body = b"<Error><Code>SlowDown</Code></Error>"
    return http_server.answer(connection, "503 Slow Down", body)


def _headers(length: int) -> bytes:
    return (
        f'HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nETag: "x"\r\n'
        "Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n\r\n"
    ).encode()


def _cut_short(_: Any, __: Any, connection: socket.socket) -> bool:
    connection.sendall(_headers(1000) + b"x" * 10)
    return False


def _claims_much(_: Any, __: Any, connection: socket.socket) -> bool:
    connection.sendall(_headers(10**12) + b"x" * 10)
    return False


def _drip(server: http_server.Server, _: Any, connection: socket.socket) -> bool:
    connection.sendall(_headers(100_000 - 1))
    return http_server.drip(server, connection)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (_denied, "permission_denied"),
        (_slow_down, "busy"),
        (_cut_short, "storage_error"),
        (_claims_much, "too_large"),
        (_drip, "timeout"),
    ],
)
def test_a_store_that_misbehaves(
    answer: http_server.Answer, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(http_server.ANSWERS, "/pictures/a.jpg", answer)
    started = time.monotonic()
    seconds = 2.0 if answer is _drip else 60.0
    with (
        http_server.serving() as server,
        make("s3://pictures", load_timeout_seconds=seconds) as loader,
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url(""))
        failure = failure_of(loader, "s3://pictures/a.jpg")
    assert failure.code == code
    assert time.monotonic() - started < 50


def test_an_unreachable_store_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with make("s3://pictures", load_timeout_seconds=3.0) as loader:
        failure = failure_of(loader, "s3://pictures/a.jpg")
    assert isinstance(failure, TransientRowError)
    assert failure.code in {"storage_error", "timeout"}


def test_credentials_of_a_profile_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3", reason="the optional extra [s3]")
    credentials = tmp_path / "credentials"
    credentials.write_text(
        "[photos]\naws_access_key_id = PROFILEKEY\naws_secret_access_key = secret\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_PROFILE", "photos")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with http_server.serving() as server, make("s3://pictures") as loader:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url(""))
        assert code_of(loader, "s3://pictures/a.jpg") == "not_found"
        assert "Credential=PROFILEKEY/" in server.requests[0].headers["authorization"]


# -- Google Cloud Storage ------------------------------------------------------------------------


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    emulator = pytest.importorskip(
        "gcp_storage_emulator.server", reason="the dev dependency gcp-storage-emulator"
    )

    def close(response: Any) -> None:
        """The store itself sends these headers with every object, and answers HEAD."""
        response["Last-Modified"] = "Tue, 14 Nov 2023 22:13:20 GMT"
        response["ETag"] = '"v1"'
        real_close(response)

    real_close = emulator.Response.close
    monkeypatch.setattr(emulator.Response, "close", close)
    listing = (gcs_listing.PATH, {"GET": gcs_listing.list_objects})
    monkeypatch.setattr(emulator, "HANDLERS", (*emulator.HANDLERS, listing))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="pictures")
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"127.0.0.1:{port}")
    yield f"http://127.0.0.1:{port}"
    server.stop()


def put_gcs(endpoint: str, name: str, body: bytes) -> None:
    query = urllib.parse.urlencode({"uploadType": "media", "name": name})
    request = urllib.request.Request(
        f"{endpoint}/upload/storage/v1/b/pictures/o?{query}",
        data=body,
        headers={"Content-Type": "image/jpeg"},
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def test_gcs_objects_are_loaded(gcs: str) -> None:
    put_gcs(gcs, "a.jpg", BODY)
    put_gcs(gcs, "dir/b c.jpg", b"other")
    put_gcs(gcs, "over", b"x" * 100_001)
    with make("gs://pictures", "gs://missing") as loader:
        content = loader.load("gs://pictures/a.jpg")
        assert content.data == BODY
        assert content.notes == {
            "size": len(BODY),
            "mtime": "2023-11-14T22:13:20+00:00",
            "etag": '"v1"',
            "content_type": "image/jpeg",
        }
        assert loader.load("gs://pictures/dir/b c.jpg").data == b"other"
        assert code_of(loader, "gs://pictures/over") == "too_large"
        assert code_of(loader, "gs://pictures/none") == "not_found"
        assert code_of(loader, "gs://missing/a.jpg") == "not_found"
        assert code_of(loader, "gs://others/a.jpg") == "forbidden_bucket"


# -- Azure ---------------------------------------------------------------------------------------

AZURE_KEY = base64.b64encode(b"secret of the emulator only, 32 bytes").decode()


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("Azurite is not installed (npm install -g azurite)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("AZURITE_ACCOUNTS", f"photos:{AZURE_KEY}")
    process = subprocess.Popen(
        [program, "--inMemoryPersistence", "--blobPort", str(port), "--silent",
         "--skipApiVersionCheck", "--disableTelemetry"],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    endpoint = f"http://127.0.0.1:{port}/photos"
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"DefaultEndpointsProtocol=http;AccountName=photos;AccountKey={AZURE_KEY};"
        f"BlobEndpoint={endpoint};",
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert time.monotonic() < deadline, "Azurite does not start"
            time.sleep(0.05)
    yield endpoint
    process.terminate()
    process.wait()


def put_azure(endpoint: str, path: str, query: str = "", body: bytes = b"") -> None:
    """A PUT signed with the account's key (Shared Key, as Azure documents it)."""
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    extra = {"x-ms-blob-type": "BlockBlob"} if body else {}
    extra |= {"x-ms-date": date, "x-ms-version": "2021-08-06"}
    length, kind = (str(len(body)) if body else "", "image/jpeg" if body else "")
    signed = "\n".join(["PUT", "", "", length, "", kind, "", "", "", "", "", "", ""])
    signed += "".join(f"{key}:{value}\n" for key, value in sorted(extra.items()))
    signed += f"/photos/photos{path}" + (f"\n{query.replace('=', ':')}" if query else "")
    digest = hmac.new(base64.b64decode(AZURE_KEY), signed.encode(), hashlib.sha256).digest()
    headers = {
        **extra,
        "Authorization": f"SharedKey photos:{base64.b64encode(digest).decode()}",
        "Content-Length": str(len(body)),
        **({"Content-Type": kind} if kind else {}),
    }
    url = f"{endpoint}{path}" + (f"?{query}" if query else "")
    request = urllib.request.Request(url, data=body or None, headers=headers, method="PUT")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 201


def test_azure_blobs_are_loaded(azure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_azure(azure, "/pictures", "restype=container")
    put_azure(azure, "/pictures/dir/b%20c.jpg", body=BODY)
    with make("az://pictures", "az://missing") as loader:
        content = loader.load("az://pictures/dir/b c.jpg")
        assert content.data == BODY
        assert content.notes["content_type"] == "image/jpeg"
        stat = loader.stat("az://pictures/dir/b c.jpg")
        assert stat == {key: content.notes[key] for key in ("etag", "size", "mtime")}
        assert code_of(loader, "az://pictures/none") == "not_found"
        assert code_of(loader, "az://missing/a.jpg") == "not_found"
        assert code_of(loader, "az://others/a.jpg") == "forbidden_bucket"
    wrong = base64.b64encode(b"another secret").decode()
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"AccountName=photos;AccountKey={wrong};BlobEndpoint={azure};",
    )
    with make("az://pictures") as loader:
        assert code_of(loader, "az://pictures/dir/b c.jpg") == "permission_denied"


def test_an_azure_signature_does_not_reach_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server.serving() as server, make("az://pictures", load_timeout_seconds=3.0) as loader:
        monkeypatch.setitem(http_server.ANSWERS, "/photos/pictures/a.jpg", _slow_down)
        monkeypatch.setenv(
            "AZURE_STORAGE_CONNECTION_STRING",
            f"AccountName=photos;BlobEndpoint={server.url('/photos')};"
            "SharedAccessSignature=sv=2021&sig=secret",
        )
        failure = failure_of(loader, "az://pictures/a.jpg")
        assert failure.code in {"busy", "timeout"}
        assert "sig=secret" in server.requests[0].path
