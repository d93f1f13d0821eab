"""Times as text, byte for byte as Django's JSON encoder writes them (ECMA-262, ISO 8601)."""

from datetime import datetime, time, timedelta


def datetime_text(value: datetime) -> str:
    """ISO 8601 to the millisecond, UTC as `Z`."""
    text = value.isoformat()
    if value.microsecond:
        text = text[:23] + text[26:]
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def time_text(value: time) -> str:
    """ISO 8601 to the millisecond."""
    text = value.isoformat()
    return text[:12] if value.microsecond else text


def duration_text(value: timedelta) -> str:
    """An ISO 8601 duration: `P1DT02H03M04.500000S`."""
    sign, value = ("-", -value) if value < timedelta(0) else ("", value)
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{value.microseconds:06d}" if value.microseconds else ""
    return f"{sign}P{value.days}DT{hours:02d}H{minutes:02d}M{seconds:02d}{fraction}S"
