"""Shares and costs that commands take: what is none is refused before anything is read."""

from bench.errors import UsageError

_MOST = 1e12  # no currency's, and no sum of such costs overflows


def check_share(option: str, value: float | None, such_as: str) -> None:
    """Refuse what is no share between 0 and 1; None was not given."""
    if value is not None and not 0 < value < 1:
        raise UsageError(f"{option} {value:g} is no share between 0 and 1, such as {such_as}")


def check_cost(option: str, value: float | None) -> None:
    """Refuse what is no cost of a mistake; None was not given."""
    if value is not None and not 0 <= value <= _MOST:  # refuses nan as well
        raise UsageError(f"{option} {value:g} is no cost; give 0 or more, in the unit of the other cost")
