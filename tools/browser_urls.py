"""How a browser reads odd URLs, as facts for tests/unit/test_browser_urls.py.

    python tools/browser_urls.py chromium > tests/unit/data/browser_urls.json

The list of URLs is ours; what each means is asked of the browser's own ``new URL(text, base)``.
"""

import html
import json
import re
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

PAGE = """<!doctype html><meta charset="utf-8"><pre id="all"></pre><script>
const asked = %s;
const read = ([text, base]) => {
  try {
    const url = base === null ? new URL(text) : new URL(text, base);
    return {scheme: url.protocol.slice(0, -1), host: url.hostname, port: url.port,
            target: url.pathname + url.search, user: url.username, password: url.password};
  } catch (error) { return null; }
};
document.getElementById("all").textContent = JSON.stringify(asked.map(read));
</script>"""

# Each character where it may stand, plain and encoded, of a path, a query and a host.
_ODD = [" ", "\t", "\n", '"', "#", "%", "%2", "%zz", "%00", "&", "'", "(", "*", "+", ",", ";", "<"]
_ODD += ["=", ">", "?", "@", "[", "\\", "]", "^", "`", "{", "|", "}", "~", "!", "$", ":", "\x7f"]
_ODD += [
    "\x01",
    "é",
    "e\u0301",
    "日本",
    "😀",
    "\u00a0",
    "\u200d",
    "\ufeff",
    "\u2028",
    "%C3%A9",
    "%e9",
]
_IN_A_HOST = [
    " ",
    "\t",
    "%20",
    "%6d",
    "%00",
    "_",
    "-",
    "..",
    "é",
    "ß",
    "É",
    "日本",
    "\u3002",
    "\u00ad",
]
_IN_A_HOST += ["\u200d", "*", "+", "!", "^", "|", "<", "[", "%", "😀", "\uff0e", "\uff05", "\u2260"]

PATHS = [
    "", "/", "//", "///x", "/.", "/..", "/./a", "/a/..", "/a/../b", "/a/./b/", "/../../b",
    "/a/%2e/b", "/a/%2E%2e/b", "/a/.%2e", "/a//../b", "/...", "/a;v=2/b", "/photo;v=2",
    "/photo;v=2;w=3?x;y", "/a/..;/b", "/a\\..\\b", "\\a", "/C|/x", "/?", "/#", "/?#x", "?a b",
    "?a/../b", "/a?b?c#d?e", "/a#b c", "/%41%62", "/a%2fb", "/a%5Cb", "/@x", "/a:b@c",
    "/http://other/", "/a?x=http://o/#y",
]  # fmt: skip
HOSTS = [
    "2130706433", "0x7f000001", "0x7F.1", "0177.0.0.1", "127.1", "127.0.1", "0", "0x",
    "127.0.0.01", "127.0.0.1.", "256.0.0.1", "1.2.3.4.5", "1.2.3.4x", "example.0x7f",
    "4294967295", "4294967296", "\uff11\uff12\uff17.1", "127。0。0。1", "127.0.0.08", "0xg.1",
    "1..2",
    "127.0.0.1%00.example.com", "[::1]", "[::1", "[0:0::1]", "[::FFFF:1.2.3.4]",
    "[::127.0.0.1]", "[fe80::1%25eth0]", "[v1.x]", "::1", "[1:2:3:4:5:6:7:8]", "[::1.2.3]",
    "[]", "EXAMPLE.com", "example.com.", "example.com..", ".", "-example.com", "exa_mple.com",
    "xn--bcher-kva.example", "xn--a", "xn--", "Bücher.example", "faß.de", "βόλος.com",
    "北京.example", "a" * 64 + ".com", "localhost", "me@example.com", "me:secret@example.com",
    "@example.com", ":@example.com", "a@b@example.com", "a%40b@example.com",
    "example.com\\@127.0.0.1", "127.0.0.1#@example.com", "example.com?@127.0.0.1",
    "example.com;@127.0.0.1", "example.com:80", "example.com:443", "example.com:",
    "example.com:0", "example.com:00080", "example.com:65535", "example.com:65536",
    "example.com:x", "example.com:+80", "example.com:8 0", "example.com:80:80", ":80",
    "example.com:\uff18\uff10", "example.com:-1",
]  # fmt: skip
WHOLE = [
    "http:a.jpg", "http:/a.jpg", "http:///a.jpg", "http://", "http:", "HTTP://EXAMPLE.COM/A",
    "hTtPs://example.com:443/", "http:\\\\example.com\\a", "http:/\\example.com/",
    "http://///x/y", " http://example.com/ ", "\x00http://example.com/",
    "\nhttp://example.com/\r\n", "ht\ntp://example.com/", "http://exam\nple.com/a\tb",
    "http://example.com/a\r\nHost: x", "https://example.com:80/", "http://example.com/%ff?%ff",
    "http://example.com/%",
]  # fmt: skip
BASE = "http://example.com:8080/one/two;v=1?three=3#four"
LOCATIONS = [
    "", "#x", "?x", "?x y", "/x", "x", "x y.jpg", "./x", "../x", "../../../x", ".", "..",
    "//o.example/x", "///o.example/x", "\\x", "\\\\o.example\\x", "http:x", "http:/x",
    "http://o.example", "https:x", "https://o.example/a b;c", " x ", "x\ty", "x;v=2", ";v=2",
    "/é", "/%C3%A9", "/%E9", "?é", ":x", "x:y", "a/b:c", "@o.example", "//u@o.example/",
    "//[::1]/", "//127.1/", "data:,x", "file:///etc/x", "javascript:x", "/a/%2e%2e/b", "x#y z",
    "/x?y=http://z/",
]  # fmt: skip


def asked() -> list[tuple[str, str | None]]:
    """Every URL with its base, each once."""
    urls = [f"http://example.com/a{odd}b" for odd in _ODD]
    urls += [f"http://example.com/?a{odd}b" for odd in _ODD]
    urls += [f"http://exa{odd}mple.com/" for odd in _IN_A_HOST]
    urls += [f"http://example.com{path}" for path in PATHS]
    urls += [f"{scheme}://{host}/x" for scheme, host in product(["http"], HOSTS)] + WHOLE
    pairs: list[tuple[str, str | None]] = [(url, None) for url in urls]
    pairs += [(location, BASE) for location in LOCATIONS]
    return list(dict.fromkeys(pairs))


def readings(browser: str) -> list[dict[str, object]]:
    """What the browser makes of each; ``null``: it refuses the URL."""
    pairs = asked()
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(PAGE % json.dumps(pairs).replace("<", "\\u003c"), encoding="utf-8")
        options = ["--headless", "--disable-gpu", "--no-sandbox", f"--user-data-dir={folder}/user"]
        done = subprocess.run(
            [browser, *options, "--dump-dom", page.as_uri()],
            capture_output=True, check=True, text=True,
        )  # fmt: skip
    found = re.search(r'<pre id="all">(.*)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr
    answers = json.loads(html.unescape(found[1]))
    return [
        {"text": text, "base": base, "read": answer}
        for (text, base), answer in zip(pairs, answers, strict=True)
    ]


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(reading) for reading in readings(sys.argv[1]))
    print(f"[\n{lines}\n]")
