"""The TLS settings of a client: the standard library's, but the system's CA certificates are loaded when needed."""

from __future__ import annotations

import os
import ssl
import sys
from typing import Any, Self


class Context(ssl.SSLContext):
    """The context of ``ssl.create_default_context()``, without the 20 to 50 ms that loading the CA certificates takes.

    They are not needed for plain HTTP, nor without verification. The code that does the handshake calls
    ``load_authorities`` once the server has answered with TLS.

    Attributes:
        lacks_authorities: whether ``load_authorities`` still has to be called.
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
        """Trust the system's certificate authorities."""
        self.load_default_certs()
        self.lacks_authorities = False
