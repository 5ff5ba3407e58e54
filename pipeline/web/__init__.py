"""``pipeline web``: pages to look at what is there: search, thumbnails, and the SQL beside them.

They read, with an analyst's rights at most. What needs Starlette and Jinja2 (the extra ``web``) is
imported by ``app()`` and the command.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine


def app(
    engine: "Engine", settings: Settings | None = None, *, media_roots: tuple[Path, ...] = ()
) -> Callable[..., Any]:
    """The pages as an ASGI application, to be mounted into one of yours.

    ``app.mount("/search", pipeline.web.app(engine))``. It loads no model: texts and files that are
    searched for are embedded by a running ``pipeline serve``. Who may see the pages, and by which
    name of the server, is for the application that mounts them to say.

    Args:
        engine: of ``postgresql+psycopg``; its connections are used for a transaction at a time.
        settings: None: from the environment.
        media_roots: folders whose images may be shown, beside those of the settings.

    Raises:
        ConfigurationError: the engine has another driver.
        MissingExtra: the extra ``web`` is not installed.
    """
    from pipeline.web.mounted import mounted

    return mounted(engine, settings or Settings.load(), media_roots)
