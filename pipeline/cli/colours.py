"""Colour on stdout: where it is a terminal, and by ``FORCE_COLOR``; never with ``NO_COLOR``."""


def painted(word: str, style: str) -> str:
    """The word in a style of rich, such as ``bold red``, where there is to be colour."""
    from rich.console import Console  # late: 0.1 s that --help need not pay
    from rich.text import Text

    console = Console(highlight=False)
    with console.capture() as drawn:
        console.print(Text(word, style=style), end="")
    return drawn.get()
