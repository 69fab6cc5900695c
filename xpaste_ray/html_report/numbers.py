"""Numbers as people read them."""

import math

from xpaste_ray.html_report.blocks import Cell, Kind


def shown(value: Cell, kind: Kind = "number") -> str:
    """1,204; 0.317; 31.7 %; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if kind == "id":
        return str(value)
    return f"{100 * value:.1f} %" if kind == "share" else short(value)


def short(value: float) -> str:
    """Whole numbers whole, others to about four digits; nothing for what is no number."""
    if not math.isfinite(value):
        return ""
    if value == int(value):
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}".rstrip("0").rstrip(".") if 0.1 <= abs(value) < 10 else f"{value:.3g}"
