"""Every error the pipeline raises on purpose.

    PipelineError                 one line: what happened, and what to do about it
    ├── ConfigurationError        a setting or an argument cannot be used as given
    │   └── MissingExtra          what is asked for needs a part that was not installed
    ├── DatabaseError             the database cannot do what is needed
    │   ├── EmbeddedServerError   the embedded PostgreSQL cannot be started, stopped or reached
    │   └── NotServed             nobody embeds queries for it: `pipeline serve` does not run
    ├── ModelError                a model cannot be loaded, or is not the one a space was built with
    │   └── RemoteModelError      its server refuses the key or the model
    │       └── ModelUnavailable  its server gives no vectors now, and may later
    ├── OutOfMemory               a batch does not fit into the device's memory: halve it
    ├── SpaceError                an embedding space is not in the state an operation needs
    └── RowError                  one source row cannot be embedded; never fails its batch
        ├── PermanentRowError     trying again cannot help (not an image, empty text)
        └── TransientRowError     trying again may help (timeout, 503)

A ``RowError`` carries a short ``code`` from ``ROW_ERROR_CODES``; code and message end up in
``ingest_jobs.error_code`` and ``ingest_jobs.error``, so neither may hold a secret.
"""

from typing import Any

EX_TEMPFAIL = 75  # sysexits.h: the exit code by which a scheduler tries again


class PipelineError(Exception):
    """What happened and what to do about it, in one line. Shown to people as it is."""


class ConfigurationError(PipelineError):
    """A setting or an argument cannot be used as given."""


class MissingExtra(ConfigurationError):  # noqa: N818 (named after what happened)
    """What is asked for needs an optional part of the package that is not installed here.

    Args:
        what: what needs it, as the beginning of the sentence.
        extra: its name in ``pyproject.toml``.
        instead: another way, as the end of the sentence.
    """

    def __init__(self, what: str, extra: str, instead: str = "") -> None:
        super().__init__(what, extra, instead)  # so that it crosses process borders as it is

    def __str__(self) -> str:
        what, extra, instead = self.args
        install = f"pip install 'pgvector-crossmodal-pipeline[{extra}]'"
        return f"{what} needs an optional part: {install}" + (instead and f", or {instead}")


class DatabaseError(PipelineError):
    """The database is unreachable, refuses us, or lacks what the pipeline needs."""


class EmbeddedServerError(DatabaseError):
    """The embedded PostgreSQL cannot be started, stopped or reached."""


class NotServed(DatabaseError):  # noqa: N818 (named after what happened)
    """A query has no vector yet, and no ``pipeline serve`` runs that would give it one."""


class ModelError(PipelineError):
    """A model cannot be loaded, or differs from the one its space was built with."""


class RemoteModelError(ModelError):
    """The server of a remote model does not serve it as asked, which is the fault of no row."""


class ModelUnavailable(RemoteModelError):  # noqa: N818 (named after what happened)
    """The server of a remote model gives no vectors now; trying again later may help."""


class OutOfMemory(PipelineError):  # noqa: N818 (named after what happened, like MemoryError)
    """A batch does not fit into the device's memory: embed it again in halves."""


class SpaceError(PipelineError):
    """An embedding space does not exist or is not in the state an operation needs."""


class RowError(PipelineError):
    """One source row cannot be embedded. Raise one of the two subclasses.

    Attributes:
        of_content: whether its content was there, and is what cannot be embedded. The row's older
            items are of other content then, and go with a failure that is final.
    """

    permanent: bool
    of_content: bool = False

    def __init__(self, code: str, message: str) -> None:
        if ROW_ERROR_CODES.get(code) is not self.permanent:
            raise ValueError(f"{code!r} is not a code of {type(self).__name__}")
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type["RowError"], tuple[Any, ...]]:
        return type(self), (self.code, self.message)  # crosses process borders in the loader pool


# The closed list: code -> whether it is permanent. docs/errors.md explains each.
ROW_ERROR_CODES: dict[str, bool] = {
    # the reference
    "bad_reference": True,
    "unsupported_scheme": True,
    "forbidden_path": True,
    "forbidden_address": True,
    "forbidden_bucket": True,
    "not_found": True,
    "not_a_file": True,
    "permission_denied": True,
    "http_error": True,
    "too_many_redirects": True,
    "timeout": False,
    "unreachable": False,
    "busy": False,
    "storage_error": False,
    # the image
    "empty_file": True,
    "too_large": True,
    "too_complex": True,
    "not_an_image": True,
    "unsupported_format": True,
    "truncated": True,
    "corrupt": True,
    "decoder_crashed": True,
    # sound, film, documents
    "not_audio": True,
    "not_a_video": True,
    "not_a_document": True,
    "missing_extra": True,
    "encrypted": True,
    "no_audio": True,
    "no_video": True,
    "no_pages": True,
    "zero_length": True,
    "silence": True,
    "bad_samples": True,
    "too_long": True,
    "too_many_parts": True,
    "page_too_large": True,
    # the text
    "empty_text": True,
    "bad_text": True,
    "too_many_windows": True,
    # the model and the worker
    "unsupported_modality": True,
    "refused": True,
    "bad_vector": True,
    "out_of_memory": False,
    "embed_failed": False,
    "worker_lost": False,
    "internal": False,
}


class PermanentRowError(RowError):
    """Trying this row again cannot help until somebody changes it."""

    permanent = True


class TransientRowError(RowError):
    """Trying this row again later may help, not before ``retry_after`` seconds where it is set."""

    permanent = False

    def __init__(self, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(code, message)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type["RowError"], tuple[Any, ...]]:
        return type(self), (self.code, self.message, self.retry_after)
