"""The TLS settings of a client: the standard library's, but the system's authorities are loaded when they are needed."""

from __future__ import annotations

import os
import ssl
import sys
from typing import Any, Self


class Context(ssl.SSLContext):
    """What ``ssl.create_default_context()`` makes, without the 20 to 50 ms that it takes to load the authorities.

    A registry on plain HTTP never needs them, nor does who verifies nothing. Whoever shakes hands calls
    ``load_authorities`` once the other side turns out to speak TLS.

    Attributes:
        lacks_authorities: whether that is still to be done.
    """

    def __new__(cls, *_: Any, **__: Any) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, *, verify: bool = True) -> None:
        if sys.version_info >= (3, 13):
            self.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
        if not verify:
            self.check_hostname = False
            self.verify_mode = ssl.CERT_NONE
        if keylog := os.environ.get("SSLKEYLOGFILE"):
            self.keylog_filename = keylog
        self.lacks_authorities = verify

    def load_authorities(self) -> None:
        """Trust whom the system trusts, from now on."""
        self.load_default_certs()
        self.lacks_authorities = False
