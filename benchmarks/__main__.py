"""Every row of docs/performance.md at a reduced size: `python -m benchmarks` (`make bench`).

About ten minutes on two idle cores; ratios of small runs are rougher than those in
benchmarks/README.md, whose commands run at full size. A row that fails is named and the others go
on; the exit status is then 1.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import bulk, end_to_end, memory, overlap, plumbing, rivals, start_up
from benchmarks.harness import say


@dataclass(frozen=True)
class Row:
    """One row: what is measured, its aim, how to measure it, how to say what came out."""

    number: int
    name: str
    aim: str
    measure: Callable[[], Any]
    show: Callable[[Any], tuple[str, str]]  # the ratio, and the parts of it


def _end_to_end(rows: list[dict[str, Any]]) -> tuple[str, str]:
    row = rows[0]
    return (
        f"{row['ratio']:.2f}",
        f"{row['per_second']:.0f}/s against {row['plain_per_second']:.0f}/s, {row['precision']}",
    )


def _plumbing(row: dict[str, Any]) -> tuple[str, str]:
    parts = f"{row['rows_per_second']:,}/s against {row['copy_rows_per_second']:,}/s by COPY"
    return f"{row['ratio']:.2f}", parts


def _overlap(row: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{row['ratio']:.2f}",
        f"{row['seconds']} s against {row['slower_stage_alone_seconds']} s of the slower stage",
    )


def _memory(row: dict[str, Any]) -> tuple[str, str]:
    (short, long), (small, large) = row["rows"], row["peak_mb"]
    return f"{row['ratio']:.2f}", f"{large} MB for {long:,}, {small} MB for {short:,} references"


def _bulk(row: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{row['ratio']:.2f}",
        f"{row['bulk_rows_per_second']:,}/s against {row['live_rows_per_second']:,}/s live, "
        f"{row['rows']:,} rows",
    )


def _rivals(rows: list[dict[str, Any]]) -> tuple[str, str]:
    row = rows[0]
    return (
        f"{row['ratio']:.2f}",
        f"{row['per_second']:.0f}/s against {row['rival_per_second']:.0f}/s, {row['precision']}",
    )


def _start_up(row: dict[str, Any]) -> tuple[str, str]:
    return f"{row['seconds']} s", f"torch imported: {'yes' if row['torch_imported'] else 'no'}"


ROWS = (
    Row(1, "images", ">= 2.5", lambda: end_to_end.measure("image", 256, 96), _end_to_end),
    Row(2, "texts", ">= 8", lambda: end_to_end.measure("text", 4000, 128), _end_to_end),
    Row(3, "pipeline alone", ">= 0.25", lambda: plumbing.measure(50_000), _plumbing),
    Row(3, "with the index live", "", lambda: plumbing.measure(2000, index=True), _plumbing),
    Row(4, "stage overlap", "<= 1.15", lambda: overlap.measure(1600, 64), _overlap),
    Row(5, "memory", "<= 1.1", lambda: memory.measure(1000, 10_000), _memory),
    Row(6, "bulk", ">= 5", lambda: bulk.measure(4000), _bulk),
    Row(8, "images, transformers", ">= 2", lambda: rivals.measure("image", 192, 96), _rivals),
    Row(9, "start-up", "< 1 s", start_up.measure, _start_up),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", help="only these rows of the table")
    wanted = parser.parse_args().rows
    lines, failed = [], 0
    for row in ROWS:
        if wanted and row.number not in wanted:
            continue
        say(f"row {row.number}: {row.name} ...")
        began = time.perf_counter()
        try:
            ratio, parts = row.show(row.measure())
        except Exception:
            traceback.print_exc()
            ratio, parts, failed = "failed", "see above", failed + 1
        say(f"row {row.number}: {row.name}: {ratio} ({time.perf_counter() - began:.0f} s)")
        lines.append(f"| {row.number} | {row.name} | {row.aim} | {ratio} | {parts} |")
    print("| # | work | aim | reached | parts |\n|---|---|---|---|---|", *lines, sep="\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
