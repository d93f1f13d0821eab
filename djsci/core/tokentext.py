"""How a token is written: `djsci_`, 36 random characters of base62, 6 of checksum.

The checksum is the CRC32 of the 36 as a base62 number, so a scanner of secrets can tell a token
from a lookalike without asking anybody.
"""

import re
import secrets
import string
import zlib

PREFIX = "djsci_"
PATTERN = re.compile(r"djsci_[0-9A-Za-z]{42}")
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM = 36
_CHECKSUM = 6


def make() -> str:
    """A new secret."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return PREFIX + body + checksum(body)


def check(secret: str) -> bool:
    """Whether `secret` is written as a token is, its checksum included."""
    if not PATTERN.fullmatch(secret):
        return False
    body = secret[len(PREFIX) : -_CHECKSUM]
    return secrets.compare_digest(secret[-_CHECKSUM:], checksum(body))


def checksum(body: str) -> str:
    """The last six characters of the token whose random part is `body`."""
    number = zlib.crc32(body.encode())
    digits = []
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
