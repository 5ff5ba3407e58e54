"""How the threads of a model wait for each other, set for a process that embeds."""

import os
import sys


def wait_asleep() -> None:
    """Have OpenMP's threads sleep until there is work, where nobody said otherwise.

    By default they spin for a while. Beside other processes, such as the PostgreSQL that is
    searched, they spin in the time of the one they wait for: a text that takes 90 ms took a second.

    OpenMP reads it once, as torch is imported, and it is for the process and its children, so only
    a command may call this.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
