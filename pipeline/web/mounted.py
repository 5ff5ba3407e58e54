"""The pages within somebody else's application, on its own engine."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.postgres.engine_pool import EnginePool
from pipeline.postgres.reading import Reading
from pipeline.settings import Settings
from pipeline.web.application import application
from pipeline.web.finding import Finder
from pipeline.web.images import Cache, Images
from pipeline.web.options import WebOptions
from pipeline.web.parts import Parts

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from starlette.types import ASGIApp


def mounted(engine: "Engine", settings: Settings, media_roots: Sequence[Path]) -> "ASGIApp":
    """All pages, by the engine's connections."""
    options = WebOptions.of(settings)
    reading = Reading(EnginePool(engine, settings.database_schema))
    return application(
        Parts(
            options,
            reading,
            Finder(reading, options.read),
            Images(settings, lambda: media_roots, Cache(None, 0)),
        )
    )
