"""Text for people to read: cut to a length, and without characters that a log or a database minds."""

from typing import Final

LONGEST_PATH: Final = 200
LONGEST_NAME: Final = 64


def printable(name: str) -> str:
    """Makes a name of the producer's own choosing safe to show; of a long one only the beginning is kept."""
    cut = name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "…"
    return "".join(letter if letter.isprintable() else "?" for letter in cut)


def shortened(text: str, longest: int) -> str:
    """Cuts a text to at most so many characters: of a longer one the beginning and the end are kept."""
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return f"{text[:half]}…{text[-half:]}"
