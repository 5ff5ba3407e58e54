"""What the database says of attaching, as the command line takes it."""

import pytest

from pipeline.cli.sql_words import as_options, told_as_options
from pipeline.errors import ConfigurationError, MissingExtra


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("such as key => '{id}'. It has id.", "such as --key id. It has id."),
        ("key => '{a,\"b c\"}'", "--key 'a,\"b c\"'"),
        ("depends_on => '{tags, shop.words}'", "--depends-on tags --depends-on shop.words"),
        ("capture => 'scan' needs none", "--capture scan needs none"),
        ("name => 'it''s'", "--name 'it'\"'\"'s'"),
        ("on_error is 'no', and must be warn", "--on-error is 'no', and must be warn"),
        ('one with "each" is an array', "one with --each is an array"),
        ("SELECT detach_source('products');", "pipeline detach products"),
        (
            "SELECT detach_source('my own', keep_items => true)",
            "pipeline detach 'my own' --keep-items",
        ),
        ("attach_source('public.products', ...)", "pipeline attach public.products ..."),
        ("SELECT * FROM attached_source_status;", "pipeline attach --list"),
        ("GRANT pipeline_ingest TO app;", "GRANT pipeline_ingest TO app;"),
        ("monkey => '{id}'", "monkey => '{id}'"),
    ],
)
def test_arguments_and_calls_are_options_and_commands(said: str, told: str) -> None:
    assert as_options(said) == told


def test_errors_keep_what_they_are() -> None:
    cause = ValueError()
    with (
        pytest.raises(ConfigurationError, match=r"^no key; --key id$") as raised,
        told_as_options(),
    ):
        raise ConfigurationError("no key; key => '{id}'") from cause
    assert raised.value.__cause__ is cause
    with pytest.raises(MissingExtra, match=r"\[s3\]"), told_as_options():
        raise MissingExtra("it", "s3")
