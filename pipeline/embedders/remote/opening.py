"""Opening a remote model with what the settings say of it."""

from dataclasses import replace

from pipeline.embedders.remote.client import Client
from pipeline.embedders.remote.embedder import RemoteEmbedder
from pipeline.embedders.remote.spec import checked_url, parse
from pipeline.settings import Settings


def opened(spec: str) -> RemoteEmbedder:
    """The model of a spec.

    Raises:
        ConfigurationError: the spec or the settings cannot be used as given.
        ModelError: the server refuses the key or the model, or does not answer.
    """
    settings = Settings.load()
    remote = parse(spec)
    if settings.remote_url:
        remote = replace(remote, url=checked_url(settings.remote_url, remote.dialect.name))
    key = settings.remote_key.get_secret_value() if settings.remote_key else ""
    client = Client(remote, key, settings.remote_seconds, settings.remote_budget)
    return RemoteEmbedder(remote, spec, client)
