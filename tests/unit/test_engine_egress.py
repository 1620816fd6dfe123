"""The egress guard: which addresses, names and URLs are refused, in whatever spelling."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import pytest

from refold.engine.egress import EgressRules, OutboundError, kind_of_refused, parse_target
from refold.engine.outbound import OutboundClient, Resolve

LOOPBACK = EgressRules.parse("127.0.0.0/8")


def refusal_of(url: str, resolve: Resolve | None = None) -> OutboundError:
    """Call `url` with a client that allows nothing private, and give the error."""

    async def call() -> OutboundError:
        client = OutboundClient(resolve=resolve)
        try:
            with pytest.raises(OutboundError) as caught:
                await client.request("GET", url, [], None, 5.0)
            return caught.value
        finally:
            await client.close()

    return asyncio.run(call())


async def no_look_up(host: str, port: int) -> list[str]:
    """Fail the test: an address must never be looked up as a name."""
    raise AssertionError(f"looked up {host}:{port}")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1.2.3", "127.0.0.1.", "0.0.0.0", "0", "2130706433", "0x7f.1",
        "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.01", "017700000001", "0x7f.0x0.0x0.0x1",
        "１２７.０.０.１", "127。0。0。1", "10.0.0.1", "172.16.0.1", "172.31.255.255",
        "192.168.1.1", "100.64.0.1", "169.254.169.254", "168.63.129.16", "192.0.0.192",
        "198.18.0.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
        "[::127.0.0.1]", "[::ffff:0:127.0.0.1]", "[fe80::1]", "[fe80::1%lo]",
        "[fc00::1]", "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[2001:db8::1]",
        "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[64:ff9b::127.0.0.1]",
        "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::1]", "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
        "[2606:4700::5efe:10.0.0.1]", "[100::1]", "[4000::1]", "[fe80::1%25eth0]",
        "[2606:4700::1111%eth0]",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused_in_every_spelling(host: str) -> None:
    """Nothing is looked up or connected to, so no spelling gets past the guard."""
    error = refusal_of(f"http://{host}/latest?token=hush", resolve=no_look_up)
    assert error.code == "egress_refused"
    assert "hush" not in error.message


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1",
     "192.0.1.1", "2606:4700::1111", "2a00:1450:4001::1", "64:ff9b::8.8.8.8", "2002:808:808::1",
     "::ffff:8.8.8.8"],
)  # fmt: skip
def test_public_unicast_is_not_refused(address: str) -> None:
    """The guard's tables end where they should: the neighbours of private blocks are free."""
    assert kind_of_refused(ip_address(address)) == ""


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.1.1", "::1", "::ffff:127.0.0.1"])
def test_a_name_is_judged_by_the_address_it_resolves_to(address: str) -> None:
    """A public-looking name is how an attacker reaches an inner service."""

    async def resolve(host: str, port: int) -> list[str]:
        del host, port
        return [address]

    error = refusal_of("http://rebind.example/", resolve=resolve)
    assert error.code == "egress_refused"
    assert "rebind.example" in error.message


def test_localhost_is_refused_by_the_default_look_up() -> None:
    """The system's own resolver is behind the same guard as an injected one."""
    assert refusal_of("http://localhost:9/").code == "egress_refused"


def test_allowed_networks_also_cover_the_mapped_form_of_an_address() -> None:
    """An operator who allows 127.0.0.0/8 means ::ffff:127.0.0.1 as well, and nothing else."""
    assert LOOPBACK.refusal("h", ip_address("::ffff:127.0.0.1")) == ""
    assert LOOPBACK.refusal("h", ip_address("64:ff9b::127.0.0.1")) != ""
    assert LOOPBACK.refusal("h", ip_address("10.0.0.1")) != ""


@pytest.mark.parametrize(
    "entry",
    ["127.0.0.1/8", "http://x", "host:80", "*.example", "2130706433", "10.0.0.0/33", "a b",
     "fe80::1%eth0", "-x"],
)  # fmt: skip
def test_an_unusable_egress_entry_is_refused_by_name(entry: str) -> None:
    """A mistyped setting must stop the start instead of allowing something else."""
    with pytest.raises(ValueError, match="The egress entry '"):
        EgressRules.parse(f"127.0.0.0/8, {entry}")


def test_empty_egress_entries_mean_nothing() -> None:
    """A trailing comma or an empty variable is not an error and allows nothing."""
    assert EgressRules.parse(" , ") == EgressRules()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h.example/", "file:///etc/passwd", "//h.example/", "/path", "http:/h.example",
        "http://", "http://?x", "http://user:hush@h.example/", "http://h.example@127.0.0.1/",
        "http://h.example\\@127.0.0.1/", "http://h.example:0/", "http://h.example:65536/",
        "http://h.example:8o/", "http://a b/", "http://h.example/\r\nX: 1", "http://h.example/\x00",
        "http://h.example/\ud800", "http://[::1", "http://[v1.x]/", "http://[::1]x/",
        "http://h..example/", "http://" + "a" * 64 + ".example/", "http://h.example/" + "a" * 9000,
        " http://h.example/", "gopher://h.example/", "http://h%2eexample/", "http://h／x/",
    ],
)  # fmt: skip
def test_a_url_that_could_be_read_in_two_ways_is_refused(url: str) -> None:
    """Everything odd is refused before anything is sent, without showing what it held."""
    error = refusal_of(url, resolve=no_look_up)
    assert error.code == "invalid_request"
    assert "hush" not in error.message


def test_what_the_author_encoded_is_sent_as_it_stands() -> None:
    """Signed URLs break when a client normalises them, so only unusable characters change."""
    target = parse_target("HTTP://Bücher.example/a%2Fb/../c d?x=%2B+1&y=ü%zz#part")
    assert target.url == ("http://xn--bcher-kva.example:80/a%2Fb/../c%20d?x=%2B+1&y=%C3%BC%25zz")
