"""What may be stored of an error: somebody else's words, which may hold anything."""

from pipeline.references import redact_message

_LONGEST = 500


def storable(message: str) -> str:
    """A message as it may enter the error column: bounded, printable, and without the secrets of
    the references in it."""
    return redact_message(message, _LONGEST)
