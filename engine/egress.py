"""Which hosts a node may call: URLs taken apart once, addresses judged before any connection.

Rules of this file:

1. A URL is parsed here and nowhere else. What aiohttp receives is put together again from the
   parts judged here, so no second parser can read another host out of the same text.
2. A host that is an address must be written in its one canonical form. `2130706433`, `0x7f.1`,
   `0177.0.0.1` and `[fe80::1%eth0]` are refused unread, since each library reads them otherwise.
3. A host that is a name is judged by the addresses it resolves to, inside the connector, at the
   moment of connecting: a name can't show one address to the guard and another to the socket.
4. Everything that isn't ordinary public unicast is refused, unless the operator allowed its
   network or its name.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias
from urllib.parse import quote

import msgspec

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

URL_LENGTH_MAX = 8_192
"""Characters of a URL, after percent-encoding."""


class OutboundError(Exception):
    """An outgoing call was refused or failed.

    `code` is one of `invalid_request`, `request_too_large`, `egress_refused`, `dns_error`,
    `tls_error`, `connect_error`, `timeout`, `response_too_large`, `too_many_redirects` and
    `protocol_error`. `message` is one sentence that names the host at most: never user
    information, a query or a header value, because it is journaled.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


# Not left to `ipaddress.is_global`: its table differs between patch releases of Python, and it
# calls some of these global (multicast, the 6to4 relays, the Azure host).
_REFUSED_V4: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier-shared"),
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "cloud-metadata"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "reserved"),
    ("192.88.99.0/24", "reserved"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "reserved"),
    ("198.51.100.0/24", "reserved"),
    ("203.0.113.0/24", "reserved"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
)
# Only 2000::/3 is unicast that the world can reach; these are the exceptions inside it, and the
# names of some blocks outside it. What is outside and not named here is "reserved".
_REFUSED_V6: tuple[tuple[str, str], ...] = (
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("2001::/23", "reserved"),
    ("2001:db8::/32", "reserved"),
    ("3fff::/20", "reserved"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "private"),
    ("ff00::/8", "multicast"),
)
_V4_TABLE = tuple((IPv4Network(network), kind) for network, kind in _REFUSED_V4)
_V6_TABLE = tuple((IPv6Network(network), kind) for network, kind in _REFUSED_V6)
_V6_UNICAST = IPv6Network("2000::/3")
_V6_NAT64 = IPv6Network("64:ff9b::/96")
_V6_TEREDO = IPv6Network("2001::/32")
_V6_6TO4 = IPv6Network("2002::/16")
_ISATAP_MARKS = (0x0000_5EFE, 0x0200_5EFE)


def _kind_v4(address: IPv4Address) -> str:
    return next((kind for network, kind in _V4_TABLE if address in network), "")


def _embedded_kind(address: IPv6Address) -> str:
    """Judge the IPv4 addresses that a packet sent to `address` may end up at."""
    bits = int(address)
    found: list[int] = []
    if address in _V6_NAT64 or bits >> 32 == 0 or (bits >> 32) & 0xFFFF_FFFF in _ISATAP_MARKS:
        found.append(bits)
    if address in _V6_6TO4:
        found.append(bits >> 80)
    if address in _V6_TEREDO:
        found += [bits >> 64, ~bits]
    kinds = [_kind_v4(IPv4Address(low & 0xFFFF_FFFF)) for low in found]
    return next((kind for kind in kinds if kind), "")


def kind_of_refused(address: Address) -> str:
    """Name why an address isn't ordinary public unicast (`loopback`, …), or return ""."""
    if isinstance(address, IPv4Address):
        return _kind_v4(address)
    if address.ipv4_mapped is not None:
        return _kind_v4(address.ipv4_mapped)
    # The embedded kind goes first because it says more than "reserved".
    kind = _embedded_kind(address) or next(
        (kind for network, kind in _V6_TABLE if address in network), ""
    )
    if kind or address in _V6_UNICAST or address in _V6_NAT64:
        return kind
    return "reserved"


_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)"
    r"(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?:#.*)?",
    re.DOTALL,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Reserved and unreserved characters of RFC 3986 and "%": what is already a URL stays as it is.
_URL_SAFE = "%:/?#[]@!$&'()*+,;=-._~"
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def canonical_name(host: str) -> str:
    """Return a host name in lower-case ASCII without a final dot; `ValueError` if it is none."""
    if not host.isascii():
        import idna  # Loaded only for the rare name that needs it.

        # `idna.IDNAError` is a ValueError. The mapping turns full-width digits into ASCII ones,
        # so what looks like an address is recognised as one below.
        host = idna.encode(host, uts46=True).decode("ascii")
    name = host.lower().removesuffix(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError("is not a host name")
    return name


class Target(msgspec.Struct, frozen=True):
    """A URL taken apart, in canonical form: what the guard judged and what is called."""

    scheme: str
    host: str
    """Lower-case ASCII name, or an address in canonical form without brackets."""
    port: int
    path_query: str
    address: Address | None
    """Set when the host is an address; a name is judged when it is resolved."""

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: credentials never cross from one origin to another."""
        return self.scheme, self.host, self.port

    @property
    def url(self) -> str:
        """The URL put together again from the judged parts."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path_query}"


def invalid_request(sentence: str) -> OutboundError:
    """Make the error of a request that can't be sent as it stands."""
    return OutboundError("invalid_request", sentence)


def _parse_host(host: str) -> tuple[str, Address | None]:
    if host.startswith("["):
        if not host.endswith("]"):
            raise invalid_request("The URL has an unusable host.")
        if "%" in host:
            raise OutboundError("egress_refused", "Addresses with a zone are not called.")
        try:
            v6 = IPv6Address(host[1:-1])
        except ValueError:
            raise invalid_request("The URL has an unusable IPv6 address.") from None
        return str(v6), v6
    try:
        name = canonical_name(host)
    except ValueError:
        raise invalid_request("The URL has an unusable host.") from None
    if not _ENDS_IN_NUMBER.fullmatch(name):
        return name, None
    try:
        v4 = IPv4Address(name)
    except ValueError:
        sentence = f"The address '{name}' is not written as four decimal numbers."
        raise OutboundError("egress_refused", sentence) from None
    return str(v4), v4


@lru_cache(maxsize=256)
def parse_target(url: str) -> Target:
    """Take an absolute http or https URL apart.

    Spaces and other characters that no URL may hold are percent-encoded in path and query; the
    fragment is dropped. Raises `OutboundError`: `invalid_request`, or `egress_refused` for an
    address in a spelling that isn't canonical. Remembered, as a workflow calls few URLs often.
    """
    if len(url) > URL_LENGTH_MAX:
        # Before anything else: the mapping of a host's letters takes time that grows with it.
        raise invalid_request(f"The URL is longer than {URL_LENGTH_MAX} characters.")
    if _CONTROL.search(url):
        raise invalid_request("The URL has a control character or an unpaired surrogate in it.")
    match = _URL.fullmatch(url)
    if match is None:
        raise invalid_request("The URL is not absolute: it must start with http:// or https://.")
    scheme = match["scheme"].lower()
    if scheme not in ("http", "https"):
        raise invalid_request(f"The scheme '{scheme[:20]}' is not called, only http and https are.")
    authority = match["authority"]
    if "@" in authority:
        raise invalid_request("The URL has user information in it; send credentials in a header.")
    host, colon, port_text = authority.rpartition(":")
    if not colon or "]" in port_text:
        host, port_text = authority, ""
    if not host:
        raise invalid_request("The URL has no host.")
    name, address = _parse_host(host)
    if not re.fullmatch(r"[0-9]{0,5}", port_text) or not 0 < int(port_text or "1") < 65_536:
        raise invalid_request(f"The URL of host '{name}' has an unusable port.")
    port = int(port_text or ("443" if scheme == "https" else "80"))
    raw = (match["path"] or "/") + (match["query"] or "")
    path_query = _STRAY_PERCENT.sub("%25", quote(raw, safe=_URL_SAFE))
    if len(path_query) > URL_LENGTH_MAX:
        raise invalid_request(f"The URL is longer than {URL_LENGTH_MAX} characters.")
    return Target(scheme, name, port, path_query, address)


class EgressRules(msgspec.Struct, frozen=True):
    """The networks and host names that may be called although they are private."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> EgressRules:
        """Read `127.0.0.0/8, internal.example`; `ValueError` names the first unusable entry."""
        networks: list[Network] = []
        hosts: set[str] = set()
        for entry in filter(None, map(str.strip, text.split(","))):
            try:
                if "%" not in entry:
                    networks.append(ipaddress.ip_network(entry))
                    continue
            except ValueError as fault:
                if "host bits" in str(fault):
                    wide = ipaddress.ip_network(entry, strict=False)
                    raise ValueError(
                        f"The egress entry '{entry}' is not a network: did you mean '{wide}'?"
                    ) from None
            try:
                name = canonical_name(entry)
            except ValueError:
                name = ""
            if not name or _ENDS_IN_NUMBER.fullmatch(name):
                raise ValueError(
                    f"The egress entry '{entry[:100]}' is neither a network "
                    "such as '10.0.0.0/8' nor a host name."
                )
            hosts.add(name)
        return cls(tuple(networks), frozenset(hosts))

    def refusal(self, host: str, address: Address) -> str:
        """Say why `host` may not be called at `address`, in one sentence; "" when it may."""
        if host in self.hosts:
            return ""
        plain = getattr(address, "ipv4_mapped", None) or address
        if any(plain in network for network in self.networks):
            return ""
        kind = kind_of_refused(address)
        return f"The host '{host}' has a {kind} address, which is not allowed." if kind else ""
