"""The webhook node and secrets: sent in clear, journaled masked, found in what comes back."""

from __future__ import annotations

import asyncio
import io
import logging
from typing import Any

import msgspec
import pytest
from aiohttp import web

from refold.engine.component import ConfigError, NodeError, Outcome
from refold.engine.nodes.webhook import Webhook, WebhookConfig
from refold.engine.outbound import EgressRules, OutboundClient
from refold.engine.secret_search import SecretSearch, masked_result
from refold.engine.secrets import RevealingVault
from tests.support.outbound_kit import echo, serving
from tests.support.secret_kit import REFERENCE, FixedSecrets, masked

CANARY = "Qz7-vXkJw+W9/pLd"
SECRETS = {"key": CANARY, REFERENCE: CANARY, "host": "api.example", "url": "https://api.example/p"}


class LentCall:
    """What the runner would lend for one effect."""

    effect_key = "fl_run_1:n2:-:1"
    timeout_s = 5.0

    def __init__(self, outbound: OutboundClient) -> None:
        self.outbound = outbound


def node_of(**data: Any) -> Webhook:
    """Compile a node from its `data`."""
    return Webhook(msgspec.convert(data, WebhookConfig))


def prepared(**data: Any) -> Any:
    """Give what a node journals."""
    return node_of(**data).prepare(masked(t={"n": 3, "ref": REFERENCE}))


async def called(base: str, secrets: dict[str, str], **data: Any) -> Outcome | NodeError:
    """Perform a node and give what is recorded of it, as the runner does."""
    vault = RevealingVault(FixedSecrets(secrets))
    client = OutboundClient(EgressRules.parse("127.0.0.0/8"))
    try:
        node = node_of(**data)
        result: Outcome | NodeError
        try:
            result = await node.perform({"vault": vault, "base": base}, LentCall(client))  # type: ignore[arg-type]
        except NodeError as error:
            result = error
    finally:
        await client.close()
    return masked_result(result, SecretSearch(vault.revealed))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://api.example/{{ vault.key }}/x", "https://api.example/***/x"),
        (f"https://api.example/{REFERENCE}/x", "https://api.example/***/x"),
        ("https://api.example/?q={{ vault.key | url_encode }}&n={{ t.n }}", "https://api.example/?q=***&n=3"),
        (f"https://api.example/?q={REFERENCE}", "https://api.example/?q=***"),
        ("https://api.example/?api_key={{ t.n }}", "https://api.example/?api_key=***"),
        ("https://api.example/#{{ vault.key }}", "https://api.example/#***"),
        ("https://{{ vault.host }}/x?y=1", "https://***/x?y=1"),
        ("https://{{ vault.host }}.example:8443/a b", "https://***.example:8443/a%20b"),
        (f"https://{REFERENCE}/x", "https://***/x"),
        ("{{ vault.url }}", "***"),
        (REFERENCE, "***"),
        ("{{ vault.url }}/orders?x={{ t.n }}", "***/orders?x=3"),
        (f"{REFERENCE}/orders", "***/orders"),
        ("{{ vault.url | append: '/x' }}", "***"),
        ("https://api.example/{% if vault.key %}a{% endif %}", "https://api.example/***"),
        ("https://api.example/{{ t.ref }}", f"https://api.example/{REFERENCE}"),
    ],
)  # fmt: skip
def test_a_url_is_journaled_without_what_comes_from_a_secret(url: str, shown: str) -> None:
    """Wherever in it the secret stands; a masked host is no fault, since it is never called."""
    assert prepared(url=url)["url"] == shown


def test_headers_and_bodies_are_journaled_leaf_by_leaf() -> None:
    """What an author put beside a secret stays readable."""
    headers = [
        {"key": "Authorization", "value": f"Bearer {REFERENCE}"},
        {"key": "X-Plain", "value": f"v1={{{{ vault.key | sha256 }}}},{REFERENCE}"},
        {"key": "X-Token", "value": "not a secret of ours"},
    ]
    shown = prepared(
        url="https://api.example/", headers=headers,
        body={"a": ["{{ vault.key }}", {"b": f"x {REFERENCE}"}], "n": "{{ t.n }}"},
    )  # fmt: skip
    assert shown["headers"] == {"Authorization": "***", "X-Plain": "v1=***,***", "X-Token": "***"}
    assert shown["body"] == {"a": ["***", {"b": "x ***"}], "n": 3}
    text = f'{{"{{{{ vault.key }}}}": "{REFERENCE}", "n": {{{{ t.n }}}}}}'
    assert prepared(url="https://api.example/", body=text)["body"] == {"***": "***", "n": 3}


@pytest.mark.parametrize("url", [f"https://api.example{REFERENCE}", f"x{REFERENCE}.example/"])
def test_a_reference_in_a_url_follows_the_rules_of_a_template(url: str) -> None:
    """It must not end a host early, nor become a part of one by chance."""
    with pytest.raises(ConfigError):
        node_of(url=url)


def test_a_payload_that_looks_like_a_mask_is_no_host() -> None:
    """What is let through unjudged is what was masked, and only where it is recorded."""
    with pytest.raises(NodeError) as caught:
        node_of(url="https://{{ t.host }}/x").prepare({"t": {"host": "***"}})
    assert caught.value.code == "invalid_request"


@pytest.mark.parametrize("secret", ["evil.example/", "a@b", "x?", "a b", "x\r\ny", "***", ""])
def test_a_secret_cannot_move_the_request_or_break_its_host(secret: str) -> None:
    """A host that was masked when it was journaled is judged when it is called."""

    async def scenario() -> Any:
        return await called("", {"host": secret}, url="https://{{ vault.host }}/x")

    error = asyncio.run(scenario())
    assert isinstance(error, NodeError)
    assert error.code == "invalid_request"


@pytest.mark.parametrize("secret", ["a\r\nX-B: 1", "a\nb", "\x00"])
def test_a_secret_cannot_break_a_header(secret: str) -> None:
    """The failure names the header, not its value."""

    async def scenario() -> Any:
        headers = [{"key": "X-A", "value": "{{ vault.key }}!"}]
        return await called("", {"key": secret}, url="https://api.example/x", headers=headers)

    error = asyncio.run(scenario())
    assert (error.code, secret in error.message) == ("invalid_request", False)


def test_an_echo_is_recorded_without_the_secret_that_was_sent() -> None:
    """It was sent in clear in every place, and comes back masked from each of them."""

    async def scenario() -> Outcome | NodeError:
        async with serving(echo) as base:
            return await called(
                base, SECRETS, url="{{ base }}/p/{{ vault.key | url_encode }}?q={{ vault.key }}",
                headers=[{"key": "X-Plain", "value": f"Bearer {REFERENCE}"}],
                body={"{{ vault.nothing }}": 1, "a": "{{ vault.key }}"},
            )  # fmt: skip

    outcome = asyncio.run(scenario())
    assert isinstance(outcome, Outcome)
    seen = outcome.output["body"]
    assert seen["target"] == "/p/***?q=***"
    assert seen["headers"]["x-plain"] == "Bearer ***"
    assert seen["body"] == '{"{{ vault.nothing }}":1,"a":"***"}'


def test_a_failing_answer_is_searched_in_reason_headers_and_body() -> None:
    """Error pages quote what they got."""

    async def handle(request: web.Request) -> web.Response:
        key = request.headers["X-Key"]
        return web.Response(
            status=403, reason=f"Bad key {key[::-1]}", headers={"X-Why": key[:9]},
            text=f"no such key: {key.upper()}",
        )  # fmt: skip

    async def scenario() -> Outcome | NodeError:
        async with serving(handle) as base:
            headers = [{"key": "X-Key", "value": "{{ vault.key }}"}]
            return await called(base, SECRETS, url="{{ base }}/", headers=headers)

    error = asyncio.run(scenario())
    assert isinstance(error, NodeError)
    assert error.message == "Webhook request failed: 403 Bad key ***"
    assert error.received["headers"]["x-why"] == "***"
    assert error.received["body"] == "no such key: ***"


@pytest.mark.parametrize(
    "location",
    ["https://{}.invalid/", "{}://x/", "http://x@{}/", "http://[{}]/", "http://{}:99999/"],
)
def test_a_refused_redirect_does_not_tell_where_it_led(location: str) -> None:
    """The target may hold what was sent, in its host or its scheme."""

    async def handle(request: web.Request) -> web.Response:
        key = request.headers["X-Key"]
        return web.Response(status=302, headers={"Location": location.format(key)})

    async def scenario() -> Outcome | NodeError:
        async with serving(handle) as base:
            headers = [{"key": "X-Key", "value": "{{ vault.key }}"}]
            return await called(
                base, {"key": "canaryhostname7"}, url="{{ base }}/", headers=headers
            )

    error = asyncio.run(scenario())
    assert isinstance(error, NodeError)
    assert "canary" not in error.message


def test_a_redirect_to_another_origin_gets_no_header_with_a_secret() -> None:
    """Whatever the header is called: the author named one receiver."""
    seen: list[dict[str, str]] = []

    async def scenario() -> Outcome | NodeError:
        async def collect(request: web.Request) -> web.Response:
            seen.append(dict(request.headers))
            return web.Response(text="ok")

        async with serving(collect) as other:

            async def lead(request: web.Request) -> web.Response:
                seen.append(dict(request.headers))
                return web.Response(status=307, headers={"Location": other})

            async with serving(lead) as base:
                headers = [
                    {"key": "X-Plain", "value": f"v1 {REFERENCE}"},
                    {"key": "X-Again", "value": "{{ vault.key | sha256 }}"},
                    {"key": "X-Open", "value": "{{ base }}"},
                ]
                return await called(base, SECRETS, url="{{ base }}/", headers=headers)

    assert isinstance(asyncio.run(scenario()), Outcome)
    names = {"X-Plain", "X-Again", "X-Open"}
    assert [names & set(headers) for headers in seen] == [names, {"X-Open"}]


def test_the_log_of_the_http_library_says_nothing() -> None:
    """It would quote the name of a cookie that it can't read, which may be anything."""

    async def scenario() -> Outcome | NodeError:
        async with serving(echo) as base:
            return await called(base, SECRETS, url="{{ base }}/")

    assert isinstance(asyncio.run(scenario()), Outcome)
    # A handler of the test's own, since pytest listens to silenced loggers too.
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logging.getLogger().addHandler(handler)
    try:
        for name in ("aiohttp", "aiohttp.internal", "aiohttp.client"):
            logging.getLogger(name).error("Illegal cookie name canary")
    finally:
        logging.getLogger().removeHandler(handler)
    assert written.getvalue() == ""
