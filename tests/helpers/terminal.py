"""Commands as a person runs them: on a terminal of a given width."""

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence


def on_a_terminal(
    command: Sequence[str], environment: Mapping[str, str], *, columns: int = 80, lines: int = 40
) -> str:
    """What the command writes to the terminal, stdout and stderr together."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        command, env=dict(environment), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # EIO: nobody has the other end open any more
        while got := os.read(ours, 65536):
            written += got
    process.wait()
    os.close(ours)
    return written.decode().replace("\r\n", "\n")
