"""Shows people how many bytes something takes."""

_STEP = 1000
_ROUNDED_UP = 999.5
_UNITS = ("B", "kB", "MB", "GB", "TB")


def size(number: float) -> str:
    """Show a number of bytes with three digits and a unit."""
    for unit in _UNITS[:-1]:
        if number < _ROUNDED_UP:
            return f"{number:.3g} {unit}" if unit != "B" else f"{number:.0f} B"
        number /= _STEP
    return f"{number:,.3g} {_UNITS[-1]}"
