"""TLS from a certificate and a key on disk, taken again when they change."""

import logging
import ssl
from pathlib import Path

from modelyard.core.errors import InvalidInput

logger = logging.getLogger(__name__)


class Tls:
    """A server's TLS context. Raises: InvalidInput where the files are no certificate and its key."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self.context = _new_context()
        self._stamp = self._look()
        try:
            self.context.load_cert_chain(certificate, key, _no_password)
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(
                f"{certificate} and {key} cannot be used for TLS: {error}",
                expected="a certificate with its chain and the key that belongs to it, both PEM, the key not encrypted",
                fix="give other files, or none for plain HTTP",
            ) from error

    def refresh(self) -> bool:
        """Take the files again if they changed, for connections from now on. What is not whole is left for later."""
        stamp = self._look()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            # Tried first on a context that nobody uses, because a pair that does not fit spoils half of one.
            _new_context().load_cert_chain(*self._files, _no_password)
            self.context.load_cert_chain(*self._files, _no_password)
        except (OSError, ssl.SSLError) as error:
            logger.warning("the changed certificate was not taken, the former one stays: %s", error)
            return False
        logger.info("the changed certificate was taken")
        return True

    def _look(self) -> list[tuple[int, int]]:
        try:
            return [(stat.st_mtime_ns, stat.st_ino) for stat in (path.stat() for path in self._files)]
        except OSError:
            return []


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password() -> str:
    # Without this, OpenSSL asks for one on the terminal.
    return ""
