"""URLs of the databases that tests make on one server."""


def database_url(url: str, name: str) -> str:
    """The same server, another database."""
    return url.replace("/pipeline?", f"/{name}?")
