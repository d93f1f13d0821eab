"""What several notebooks share."""

import dataclasses


@dataclasses.dataclass
class Station:
    name: str
    height: int = 0


def total(numbers):
    return sum(number for number in numbers if number == number)
