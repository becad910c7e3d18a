# SPDX-License-Identifier: Apache-2.0
"""The router's certificate for clients."""

import ssl

from serving.router.settings import Settings
from slurm_green.errors import BadInputError

__all__ = ["tls_context"]


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """For clients; None without TLS. Raises BadInputError."""
    cert, key = settings.listen.tls_cert, settings.listen.tls_key
    if cert is None or key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key)
    except OSError as error:
        why = f"[listen] tls_cert {cert}, tls_key {key}: {error.strerror}"
        raise BadInputError(why) from error
    return context
