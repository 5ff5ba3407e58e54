"""For programs that live in the same database or the same process."""
