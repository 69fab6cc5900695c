"""Which of several forms of an answer a client wants (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence


def best_of(accept: str | None, offered: Sequence[str]) -> str | None:
    """The offered media type that the header likes best, of equals the first; None if it takes none."""
    wanted = [_read(part) for part in (accept or "*/*").split(",") if part.strip()]
    weights = [_weight(one, wanted) for one in offered]
    best = max(weights)
    return offered[weights.index(best)] if best > 0 else None


def _read(part: str) -> tuple[str, float]:
    media, *parameters = (one.strip().lower() for one in part.split(";"))
    weight = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = max(0.0, min(float(value), 1.0))  # in this order nan is 0
            except ValueError:
                weight = 0.0
    return media, weight


def _weight(offered: str, wanted: Sequence[tuple[str, float]]) -> float:
    """By the most specific range that fits."""
    for fitting in (offered, f"{offered.partition('/')[0]}/*", "*/*"):
        weights = [weight for media, weight in wanted if media == fitting]
        if weights:
            return max(weights)
    return 0.0
