"""Addresses of servers, databases and webhooks as messages may show them.

A password or a token can stand in any part of an address: before the host, as its port, in its path
or query. So of an address only scheme, host and a port that is a number are ever printed, and what
a library says about it is printed without the other parts. A file is no secret: `sqlite:///...` is
shown whole.

`show_address` shows one, `hide_addresses` and `hide_parts` clean a text.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "..."
FILE_SCHEMES = ("sqlite", "file")
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
HOST = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?")


def show_address(address: str) -> str:
    """`http://host:5000` of `http://user:token@host:5000/path`; a path of this machine as it is,
    unless it has a `:`, `@` or `?`: that may be an address without its scheme.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return HIDDEN if re.search("[:@?]", address) else address
    if scheme in FILE_SCHEMES:
        return address
    host_part = re.split("[/?#]", rest, maxsplit=1)[0]
    # a password with a slash in it: what stands before the slash may be half of it
    if "@" in rest.removeprefix(host_part):
        return f"{scheme}://{HIDDEN}"
    host = host_part.rpartition("@")[2]
    name, _, port = host.rpartition(":")
    if name and not port.isdigit() and not host.endswith("]"):
        host = name
    if not HOST.fullmatch(host):
        host = HIDDEN
    return f"{scheme}://{host}"


def hide_addresses(text: str) -> str:
    """The text with every address in it as `show_address` has it."""
    return ADDRESS.sub(lambda match: show_address(match[0]), text)


def hide_parts(text: str, address: str) -> str:
    """The text of an error about `address`, without those parts of it that may be secret."""
    public_part = show_address(address)
    if public_part == address:
        return text
    parts = set(re.split(r"[:/@?#&=\[\]]+", address)) - set(re.split("[:/]+", public_part))
    secrets = parts | {unquote(part) for part in parts}
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return hide_addresses(text)
