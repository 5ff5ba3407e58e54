"""References: where a source item's content is. The one place that tells their schemes apart.

A reference is a path, ``file:``, ``data:`` (then it is the content), ``http(s)://``, or an object
of a store, ``s3://``, ``gs://`` or ``az://``. Whoever may write ``source_items`` writes references,
so nothing here trusts one; what may be loaded is decided in ``pipeline/loaders``.
"""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

WEB = ("http", "https")
STORES = ("s3", "gs", "az")
REMOTE = (*WEB, *STORES)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}

_ANY_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_ELSEWHERE = re.compile(rf"[a-z][a-z0-9+.-]*://|(?:{'|'.join(REMOTE)}):", re.IGNORECASE)
# What may hold a secret: all behind a scheme, or behind two slashes without one. A known scheme
# without slashes is a mistake of which nothing can be told apart, so nothing of it is shown.
_NO_SLASHES = rf"(?<!\w)(?P<scheme>{'|'.join(REMOTE)}):(?![/\\])"
_SLASHES = r"(?:[a-z][a-z0-9+.-]*:[/\\]+|[/\\]{2,})"
_URL = re.compile(_SLASHES, re.IGNORECASE)
_URL_IN_TEXT = re.compile(rf"{_NO_SLASHES}(?=.)|{_SLASHES}", re.IGNORECASE)
_URL_IN_MESSAGE = re.compile(rf"(?:{_NO_SLASHES}|{_SLASHES})[^\s'\"<>]+", re.IGNORECASE)
_USER_INFO_WITH_SLASH = re.compile(r":(?!\d*$)")  # a password that holds a slash, not a port
_USER_INFO = re.compile(r"(?i)[^\s'\"<>(]*:[^\s'\"<>]*(?:@|%40)")
_USER_INFO_IN_PATH = re.compile(r"(?i)[^/\\\s:@]+:[^/\\\s@]*(?:@|%40)")
_QUERY_VALUES = re.compile(r"([?&;][^?&;#=\s]+=)[^?&;#\s]+")
_NAMED_SECRETS = re.compile(
    r"(?i)((?:\b|_)(?:x-[\w-]+|sig|signature|(?:\w*_)?token|\w*secret\w*|\w*key|\w*password|pwd"
    r"|credentials?|auth\w*)(?:=|\s*=\s*(?=['\"])))"
    r"(?:'(?:\\.|[^'\\])*'?|\"(?:\\.|[^\"\\])*\"?|[^?&;#\s'\"<>]+)"
)
_LONGEST_HOST = 255
_MAX_SHOWN = 300


def scheme_of(reference: str) -> str | None:
    """What stands before the first colon, in lower case; None where no scheme does: a path."""
    match = _ANY_SCHEME.match(reference)
    return None if match is None else match[1].lower()


def is_elsewhere(reference: str) -> bool:
    """Whether it names something by ``scheme://``, not a file or folder here.

    A known scheme without the slashes does so as well: whoever loads it says what is wrong.
    """
    return _ELSEWHERE.match(reference) is not None


def is_data(reference: str) -> bool:
    """Whether the reference is the content."""
    return scheme_of(reference[:5]) == "data"


def from_folder(reference: str, folder: Path) -> str:
    """The reference, where it is a relative path as one of ``folder``, absolute."""
    if is_elsewhere(reference) or is_data(reference):
        return reference
    return str(local_path(folder / reference))


def expanded(name: str | Path) -> Path:
    """A path with ``~`` as its user's home; of a user who is not there the name itself.

    So do shells: ``~$draft.jpg`` is a file.
    """
    path = Path(name)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def local_path(name: str | Path) -> Path:
    """The path, absolute and without ``..``: each file under one name, which may be loaded.

    Links stay as they are named, except one that is left by ``..``, which is where it leads.
    """
    path = Path.cwd() / name
    found = Path(path.anchor)
    for part in path.parts[1:]:
        if part == "..":
            if os.path.islink(found):  # noqa: PTH114 (a path with a NUL is no link)
                found = found.resolve()
            found = found.parent
        else:
            found /= part
    return found


def place_of(reference: str) -> str | None:
    """The host and port, or the bucket, that a reference leads to, with its scheme; None: it is
    here. What is no URL has a place as well: nothing is checked."""
    scheme = scheme_of(reference)
    if scheme not in REMOTE:
        return None
    rest = reference.partition(":")[2].lstrip("/\\")
    host = re.split(r"[/\\?#]", rest, maxsplit=1)[0].rpartition("@")[2].lower()
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, ' '))}"


def suffix_of(reference: str) -> str:
    """The ending of its path, such as ``.jpg``, in lower case; empty where there is none."""
    try:
        path = urlsplit(reference).path if is_elsewhere(reference) else reference
    except ValueError:  # no URL; the loader will say so of this row
        return ""
    return Path(path).suffix.lower()


def pointer(reference: str) -> str:
    """As an item keeps it: what a ``data:`` URI holds stays out of the items."""
    return redact(reference) if is_data(reference) else reference


def name_of(reference: str) -> str:
    """A file by its name, which says more than its folders; anything else as it is."""
    if is_elsewhere(reference) or is_data(reference):
        return reference
    return reference.rsplit("/", 1)[-1]


def redact(ref: str, size: int | None = None) -> str:
    """A reference as logs and errors may show it: no user info, no query values, no payload.

    Whatever form it has: programs read ``//user:password@host``, or one with a blank before it, as
    a URL as well.

    Args:
        size: how long it is, where this is its beginning.
    """
    ref = ref.strip()
    if is_data(ref):
        head, comma, payload = ref.partition(",")
        count = len(payload) if size is None else size - len(head + comma)
        return _shorten(f"{printable(head)},({count} characters)")
    return _shorten(_without_secrets(printable(ref)))


def redact_message(message: str, longest: int = _MAX_SHOWN) -> str:
    """The same for every reference inside somebody else's message."""
    text = printable(message)
    parts, end = [], 0
    for url in _URL_IN_MESSAGE.finditer(text):
        parts += [_without_plain_secrets(text[end : url.start()]), _redact_found(url)]
        end = url.end()
    return _shorten("".join([*parts, _without_plain_secrets(text[end:])]), longest)


def _without_secrets(text: str) -> str:
    url = _URL_IN_TEXT.search(text)
    if url is None:
        return _without_plain_secrets(text)
    return _without_plain_secrets(text[: url.start()]) + _redact_found(url, text[url.start() :])


def _redact_found(found: re.Match[str], url: str | None = None) -> str:
    return f"{found['scheme']}:..." if found["scheme"] else _redact_url(url or found[0])


def _without_plain_secrets(text: str) -> str:
    """Of what is no URL, but might be meant as one."""
    text = _NAMED_SECRETS.sub(r"\1...", _USER_INFO.sub("...@", text))
    return _QUERY_VALUES.sub(r"\1...", text) if "?" in text else text


def _redact_url(url: str) -> str:
    head = _URL.match(url)
    if head is None:
        return url
    url, _, fragment = url.partition("#")
    url, mark, query = url.partition("?")
    rest = url[head.end() :]
    host, slash, path = rest.partition("/")
    encoded = "%40" in host
    if "@" in host or encoded or ("@" in path and _USER_INFO_WITH_SLASH.search(host)):
        rest = "...@" + re.split("%40" if encoded and "@" not in rest else "@", rest)[-1]
    elif len(host) > _LONGEST_HOST:  # none; and where it was cut, no @ tells what it is
        rest = "..."
    else:
        rest = host + slash + _USER_INFO_IN_PATH.sub("...@", path)
    rest = _NAMED_SECRETS.sub(r"\1...", rest)
    if mark:
        names = [pair.partition("=")[0] for pair in re.split("[&;]", query) if "=" in pair]
        rest += mark + ("&".join(f"{name}=..." for name in names) or "...")
    return head[0] + rest + ("#..." if fragment else "")


def printable(text: str) -> str:
    """Stricter than what commands print: a reference has no joiners or blanks but
    one."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _shorten(text: str, longest: int = _MAX_SHOWN) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."
