"""A typed handler: its signature is its API, so wrong parameters never start a run.

    curl …/djsci/call/typed_quote/ --json '{"items": ["desk", "lamp"], "delivery": "2030-06-01"}'
"""

from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

PRICES = {
    "desk": Decimal("349.00"),
    "chair": Decimal("189.50"),
    "lamp": Decimal("59.90"),
    "shelf": Decimal("129.00"),
}
SHIPPING = {"standard": Decimal("9.90"), "express": Decimal("24.90")}
CENT = Decimal("0.01")


def djsci_handler(
    request,
    items: list[str],
    delivery: date | None = None,
    shipping: Literal["standard", "express"] = "standard",
    discount: Decimal = Decimal("0"),
    currency: str = "EUR",
):
    unknown = sorted(set(items) - set(PRICES))
    if unknown:
        raise ValueError(f"not in the catalogue: {', '.join(unknown)}")
    if not 0 <= discount <= 50:
        raise ValueError("the discount is a percentage from 0 to 50")

    goods = sum((PRICES[item] for item in items), Decimal(0))
    reduction = (goods * discount / 100).quantize(CENT, ROUND_HALF_UP)
    total = goods - reduction + SHIPPING[shipping]
    print(f"{len(items)} items, {goods} {currency}, discount {reduction}, total {total}")

    return {
        "items": [{"name": item, "price": PRICES[item]} for item in items],
        "goods": goods,
        "discount": reduction,
        "shipping": SHIPPING[shipping],
        "total": total,
        "currency": currency,
        "delivery": delivery,
        "pay_until": delivery - timedelta(days=7) if delivery else None,
    }
