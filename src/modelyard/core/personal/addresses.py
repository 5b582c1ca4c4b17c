"""IP addresses."""

import ipaddress
import re
from collections.abc import Iterator

from modelyard.core.personal.spans import Span

IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_VERSION_CUE = re.compile(r"(?:\bv|\bver|version|release|build|firmware|section|chapter)[ .:]{0,2}$", re.IGNORECASE)


def addresses(text: str) -> Iterator[Span]:
    """Addresses of versions 4 and 6, but for versions of programs."""
    for pattern in (IPV4, IPV6):
        for match in pattern.finditer(text):
            if _is_address(match[0]) and not _VERSION_CUE.search(text[max(0, match.start() - 12) : match.start()]):
                yield match.start(), match.end(), "ip"


def _is_address(text: str) -> bool:
    """Whether it is an address of somebody: not of this machine, and no `a::b` of a program."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    is_code = address.version == 6 and len(text.replace(":", "")) < 5
    return not (address.is_loopback or address.is_unspecified or is_code)
