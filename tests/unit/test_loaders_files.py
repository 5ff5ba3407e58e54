"""Files below the media roots and nothing else; ``data:`` references; forms that are refused."""

import hashlib
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.errors import PermanentRowError, RowError, TransientRowError
from pipeline.loaders import Loader, LoadOptions


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub folder").mkdir(parents=True)
    (root / "a.jpg").write_bytes(b"picture")
    (root / "sub folder" / "ü#?.jpg").write_bytes(b"odd name")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return root


@pytest.fixture
def loader(root: Path) -> Loader:
    return Loader(LoadOptions(media_roots=(root,), max_bytes=1000))


def code_of(loader: Loader, ref: str) -> str:
    with pytest.raises(RowError) as failure:
        loader.load(ref)
    assert "secret" not in failure.value.message
    return failure.value.code


def test_a_file_is_loaded_with_what_is_known_of_it(loader: Loader, root: Path) -> None:
    os.utime(root / "a.jpg", (1_700_000_000, 1_700_000_000))
    content = loader.load(str(root / "a.jpg"))
    assert content.data == b"picture"
    assert content.sha256 == hashlib.sha256(b"picture").digest()
    moment = datetime.fromtimestamp(1_700_000_000, UTC).isoformat()
    assert content.notes == {"size": 7, "mtime": moment}
    assert loader.stat(str(root / "a.jpg")) == content.notes


def test_every_way_to_name_a_file_works(loader: Loader, root: Path) -> None:
    assert loader.load("a.jpg").data == b"picture"
    assert loader.load(f"file://{root}/a.jpg").data == b"picture"
    assert loader.load(f"FILE://localhost{root}/a.jpg").data == b"picture"
    assert loader.load(f"file:{root}/a.jpg").data == b"picture"
    assert loader.load("sub folder/ü#?.jpg").data == b"odd name"
    assert loader.load(f"file://{root}/sub%20folder/%C3%BC%23%3F.jpg").data == b"odd name"


def test_roots_given_by_the_caller_come_on_top(tmp_path: Path, root: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.jpg").write_bytes(b"other")
    loader = Loader(LoadOptions(media_roots=(root,)), [other])
    assert loader.load("b.jpg").data == b"other"
    assert loader.load(str(other / "b.jpg")).data == b"other"
    assert loader.load("a.jpg").data == b"picture"


def test_files_outside_the_roots_are_refused_whether_they_exist_or_not(
    loader: Loader, tmp_path: Path
) -> None:
    assert code_of(loader, str(tmp_path / "secret.txt")) == "forbidden_path"
    assert code_of(loader, str(tmp_path / "no such file")) == "forbidden_path"
    assert code_of(loader, "/etc/passwd") == "forbidden_path"
    assert code_of(loader, f"{tmp_path}/root-too/a.jpg") == "forbidden_path"


@pytest.mark.parametrize(
    "ref", ["../secret.txt", "sub folder/../../secret.txt", "sub folder/../a.jpg", ".."]
)
def test_dots_are_refused(loader: Loader, root: Path, ref: str) -> None:
    assert code_of(loader, ref) == "forbidden_path"
    assert code_of(loader, f"{root}/{ref}") == "forbidden_path"
    assert code_of(loader, f"file://{root}/{ref}") == "forbidden_path"
    assert code_of(loader, f"file://{root}/{ref.replace('.', '%2e')}") == "forbidden_path"


def test_symbolic_links_may_not_lead_out(loader: Loader, root: Path, tmp_path: Path) -> None:
    (root / "inside").symlink_to(root / "a.jpg")
    (root / "outside").symlink_to(tmp_path / "secret.txt")
    (root / "folder").symlink_to(tmp_path)
    (root / "circle").symlink_to(root / "circle")
    assert loader.load("inside").data == b"picture"
    assert code_of(loader, "outside") == "forbidden_path"
    assert code_of(loader, "folder/secret.txt") == "forbidden_path"
    assert code_of(loader, "circle") == "forbidden_path"


def test_a_root_that_is_a_symbolic_link_works(tmp_path: Path, root: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    loader = Loader(LoadOptions(media_roots=(tmp_path / "link",)))
    assert loader.load(str(tmp_path / "link" / "a.jpg")).data == b"picture"
    assert loader.load(str(root / "a.jpg")).data == b"picture"


def test_a_link_swapped_in_between_check_and_open_gains_nothing(
    loader: Loader, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last part of the path, and a folder before it."""
    real_open = os.open

    def swap_then_open(path: Path, flags: int) -> int:
        victim = root / "a.jpg"
        if victim.is_file() and not victim.is_symlink():
            victim.unlink()
            victim.symlink_to(tmp_path / "secret.txt")
        return real_open(path, flags)

    monkeypatch.setattr("pipeline.loaders.files.os.open", swap_then_open)
    assert code_of(loader, "a.jpg") == "forbidden_path"

    (root / "sub folder" / "secret.txt").write_bytes(b"harmless")

    def swap_folder_then_open(path: Path, flags: int) -> int:
        folder = root / "sub folder"
        if not folder.is_symlink():
            folder.rename(root / "moved")
            folder.symlink_to(tmp_path)
        return real_open(path, flags)

    monkeypatch.setattr("pipeline.loaders.files.os.open", swap_folder_then_open)
    assert code_of(loader, "sub folder/secret.txt") == "forbidden_path"


def test_only_regular_files_are_opened(loader: Loader, root: Path) -> None:
    os.mkfifo(root / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(root / "socket"))
    listener.close()
    for name in ("fifo", "socket", "sub folder", str(root)):
        assert code_of(loader, name) == "not_a_file", name


def test_devices_do_not_hang() -> None:
    loader = Loader(LoadOptions(media_roots=(Path("/dev"),)))
    for name in ("/dev/zero", "/dev/null", "/dev/tty", "/dev/stdin"):
        assert code_of(loader, name) in {"not_a_file", "forbidden_path", "not_found"}, name
    assert code_of(loader, "/dev/zero") == "not_a_file"


def test_a_file_without_a_size_is_capped_too() -> None:
    """Files of /proc say 0 bytes and have more."""
    loader = Loader(LoadOptions(media_roots=(Path("/proc/self"),), max_bytes=10))
    assert code_of(loader, "/proc/self/limits") in {"too_large", "forbidden_path"}
    loader = Loader(LoadOptions(media_roots=(Path("/proc"),), max_bytes=10))
    assert code_of(loader, f"/proc/{os.getpid()}/limits") == "too_large"


def test_size_limits(loader: Loader, root: Path) -> None:
    (root / "limit").write_bytes(b"x" * 1000)
    (root / "over").write_bytes(b"x" * 1001)
    (root / "empty").touch()
    assert len(loader.load("limit").data) == 1000
    assert code_of(loader, "over") == "too_large"
    assert code_of(loader, "empty") == "empty_file"


def test_missing_and_unreadable_files(
    loader: Loader, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert code_of(loader, "nothing.jpg") == "not_found"
    assert code_of(loader, "a.jpg/b.jpg") == "not_found"
    assert code_of(loader, "x" * 5000) == "bad_reference"

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pipeline.loaders.files.os.open", refuse)
    assert code_of(loader, "a.jpg") == "permission_denied"

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("pipeline.loaders.files.os.open", fail)
    with pytest.raises(TransientRowError, match="Input/output error") as failure:
        loader.load("a.jpg")
    assert failure.value.code == "storage_error"


def test_without_roots_no_file_is_read(root: Path) -> None:
    with pytest.raises(PermanentRowError, match="PIPELINE_MEDIA_ROOTS") as failure:
        Loader(LoadOptions()).load(str(root / "a.jpg"))
    assert failure.value.code == "forbidden_path"


@pytest.mark.parametrize(
    ("ref", "code"),
    [
        ("", "bad_reference"),
        ("   ", "bad_reference"),
        ("a\0.jpg", "bad_reference"),
        ("file:///a%00.jpg", "bad_reference"),
        ("a\ud800.jpg", "bad_reference"),
        ("file://server/share/a.jpg", "bad_reference"),
        ("file:a.jpg", "bad_reference"),
        ("file:///a.jpg?x=1", "bad_reference"),
        ("file:///a.jpg#x", "bad_reference"),
        ("file://[/a.jpg", "bad_reference"),
        ("ftp://example.com/a.jpg", "unsupported_scheme"),
        ("gopher://example.com/", "unsupported_scheme"),
        ("javascript:alert(1)", "unsupported_scheme"),
        ("C:\\photos\\a.jpg", "unsupported_scheme"),
        ("data:", "bad_reference"),
        ("data:image/png;base64", "bad_reference"),
        ("data:image/png;base64,!!!", "bad_reference"),
        ("data:image/png;base64,QQ=Q", "bad_reference"),
        ("data:image/png;base64,", "empty_file"),
        ("data:," + "x" * 1001, "too_large"),
        ("data:," + "x" * 10_000, "too_large"),
    ],
)
def test_forms_that_are_refused(loader: Loader, ref: str, code: str) -> None:
    assert code_of(loader, ref) == code


@pytest.mark.parametrize(
    ("ref", "data", "kind"),
    [
        ("data:image/png;base64,iVBORw0KGgo=", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("data:image/png;base64,iVBORw0KGgo", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("DATA:IMAGE/PNG;BASE64,iVBO Rw0K\nGgo=", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("data:,a%20b", b"a b", "text/plain"),
        ("data:text/plain;charset=utf-8,a,b", b"a,b", "text/plain"),
    ],
)
def test_data_references_are_decoded(loader: Loader, ref: str, data: bytes, kind: str) -> None:
    content = loader.load(ref)
    assert content.data == data
    assert content.notes == {"size": len(data), "content_type": kind}
    assert loader.stat(ref) == {}


def test_a_slow_disk_meets_the_deadline(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = iter(range(0, 10_000, 3))  # every look at the clock is three seconds later
    monkeypatch.setattr("pipeline.loaders.content.time.monotonic", lambda: next(moment))
    (root / "long").write_bytes(b"x" * 3 * 2**20)
    with pytest.raises(TransientRowError, match="loading took more than 5 s") as failure:
        Loader(LoadOptions(media_roots=(root,), load_timeout_seconds=5)).load("long")
    assert failure.value.code == "timeout"


def test_a_defect_in_a_loader_costs_the_row_only(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("pipeline.loaders.files.os.path.realpath", fail)
    with pytest.raises(TransientRowError, match="ZeroDivisionError") as failure:
        loader.load("a.jpg")
    assert failure.value.code == "internal"
    assert "secret" not in failure.value.message
