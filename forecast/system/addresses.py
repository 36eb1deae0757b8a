"""Addresses of servers, databases and webhooks, without the passwords and tokens in them.

A secret can stand in any part of an address: before the host, as the port, in the path or query.
So only scheme, host and a numeric port are printed. Addresses of files (`sqlite:///...`) are
printed whole.

`public_address` shortens one address; `hide_addresses` and `hide_parts` clean a message.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "..."
FILE_SCHEMES = ("sqlite", "file")
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
HOST = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?")


def public_address(address: str) -> str:
    """The address without secrets: `http://user:token@host:5000/path` gives `http://host:5000`.

    Text without `://` is taken for a path and returned unchanged; with `:`, `@` or `?` in it, as in
    `C:/data`, it may be an address that lacks its scheme, and gives `...`.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return HIDDEN if re.search("[:@?]", address) else address
    if scheme in FILE_SCHEMES:
        return address
    host_part = re.split("[/?#]", rest, maxsplit=1)[0]
    # in `user:pa/ss@host` what stands before the slash is no host
    if "@" in rest.removeprefix(host_part):
        return f"{scheme}://{HIDDEN}"
    host = host_part.rpartition("@")[2]
    # a port that is no number may be a secret; the colons of `[::1]` begin no port
    name, _, port = host.rpartition(":")
    if name and not port.isdigit() and not host.endswith("]"):
        host = name
    if not HOST.fullmatch(host):
        host = HIDDEN
    return f"{scheme}://{host}"


def hide_addresses(text: str) -> str:
    """The text with every address in it shortened by `public_address`."""
    return ADDRESS.sub(lambda match: public_address(match[0]), text)


def hide_parts(text: str, address: str) -> str:
    """An error message about `address`, without the parts of it that `public_address` leaves out,
    which may be secret or a common word; other addresses in the message are shortened, too.
    """
    public_part = public_address(address)
    if public_part == address:
        return hide_addresses(text)
    parts = set(re.split(r"[:/@?#&=\[\]]+", address)) - set(re.split("[:/]+", public_part))
    secrets = parts | {unquote(part) for part in parts}
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return hide_addresses(text)
