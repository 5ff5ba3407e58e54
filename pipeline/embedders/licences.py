"""Models that may be used only by who accepts their licence. No torch."""

from pipeline.errors import ConfigurationError
from pipeline.settings import Settings


def check_accepted(licence: str, of: str) -> None:
    """See that ``PIPELINE_ACCEPT_LICENSE`` names a licence.

    Args:
        licence: as SPDX has it; what a person writes into the setting.
        of: what is under it and what it forbids, as the beginning of the sentence.

    Raises:
        ConfigurationError: it does not.
    """
    accepted = Settings.load().accept_license
    if licence not in accepted.replace(",", " ").split():
        raise ConfigurationError(
            f"{of}; if you accept the licence {licence}, set PIPELINE_ACCEPT_LICENSE={licence}"
        )
