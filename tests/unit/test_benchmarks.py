"""What `make bench-scale` runs is there; that it still fits the code, mypy says."""

from pathlib import Path

from benchmarks import scale

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_what_is_measured_at_scale_is_there() -> None:
    for name in scale.WITH_FOLDER | scale.WITHOUT:
        assert (BENCHMARKS / f"{name}.py").is_file(), name
