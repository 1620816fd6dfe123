"""Searches over HTTP: what is found, in which order, by whom, and what a query can't do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.support.http_kit import calling, create, quick, refused, run
from tests.support.service import Client, Endpoint, Service, chain, node, running

SEARCH = "errors,payloads,logs"


@pytest.fixture(scope="module", name="searched")
def _searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("search") / "data", SEARCH=SEARCH) as made:
        yield made


@pytest.fixture(name="client")
def _client(searched: Service, org: str) -> Iterator[Client]:
    made = searched.client(org)
    yield made
    made.close()


def runs(client: Client, **query: str) -> list[str]:
    """Return the ids of the runs that a search finds; `payload__a` stands for `payload.a`."""
    named = {name.replace("__", "."): value for name, value in query.items()}
    found = client.get(f"/workflows/runs/search?{urlencode(named)}")
    assert found.status == 200, found.body
    return [entry["id"] for entry in found.json["data"]]


def logs(client: Client, q: str, **query: str) -> list[tuple[str, str]]:
    """Return run and node of the log entries that a search finds."""
    found = client.get(f"/workflows/logs/search?{urlencode({'q': q, **query})}")
    assert found.status == 200, found.body
    return [(entry["execution_id"], entry["node_id"]) for entry in found.json["data"]]


def saying(text: str, **trigger: Any) -> dict[str, Any]:
    """Return a definition whose only output beside the trigger's is a text."""
    return chain(node("t", "manual_trigger", **trigger), node("a", "text_transform", template=text))


def test_runs_are_found_by_the_words_of_their_error(client: Client, sink: Endpoint) -> None:
    """Newest failure first, whatever the case of the words; a completed run is never found."""
    workflow = create(client, calling(sink, "503/x"))
    failed = [run(client, workflow)["id"] for _ in range(3)]
    other = run(client, create(client, calling(sink, "404/x")))["id"]
    run(client, create(client, quick()))
    assert runs(client, q="unavailable SERVICE") == failed[::-1]
    assert runs(client, q='"service unavailable"') == failed[::-1]
    assert runs(client, q='"unavailable service"') == []
    assert runs(client, q="unavail*", workflow=workflow) == failed[::-1]
    assert runs(client, q="webhook") == [other, *failed[::-1]]
    assert runs(client, q="503 404") == []


def test_an_entry_shows_what_the_lists_show(client: Client, sink: Endpoint) -> None:
    """A found run or entry is the very object that other routes answer with."""
    workflow = create(client, calling(sink, "503/x"))
    made = run(client, workflow, {"order": 7})
    (found,) = client.get("/workflows/runs/search?q=unavailable").json["data"]
    assert [found] == client.get(f"/workflows/{workflow}/executions").json["data"]
    listed = client.get(f"/workflows/{workflow}/logs?level=error").json
    assert client.get("/workflows/logs/search?q=problem").json["data"] == listed
    assert found["id"] == made["id"]


def test_runs_are_found_by_fields_of_their_payload(client: Client) -> None:
    """By exact scalars at a path, through lists, several at once; a rerun by what it inherited."""
    workflow = create(client, quick())
    first = run(client, workflow, {"order": {"id": 7, "tags": ["red", "blue"]}, "paid": True})
    second = run(client, workflow, {"order": {"id": "7", "tags": ["red"]}, "note": None, "p": 1.5})
    again = client.post(f"/workflows/runs/{first['id']}/rerun", Prefer="wait=30").json["new_run"]
    assert runs(client, payload__order__id="7") == [again["id"], second["id"], first["id"]]
    assert runs(client, payload__order__tags="blue") == [again["id"], first["id"]]
    both = {"payload.order.tags": "red", "payload.paid": "true"}
    assert runs(client, **both) == [again["id"], first["id"]]
    assert runs(client, payload__note="null", payload__p="1.5") == [second["id"]]
    assert runs(client, payload__order__id="7", payload__p="2") == []
    assert runs(client, payload__order="7") == []
    assert runs(client, payload__order__tags="RED") == []


def test_words_and_fields_are_joined_by_and(client: Client, sink: Endpoint) -> None:
    """The two stand in different files; an answer needs both."""
    workflow = create(client, calling(sink, "503/x"))
    one, _ = (run(client, workflow, {"customer": name})["id"] for name in ("ann", "bob"))
    done = run(client, create(client, quick()), {"customer": "ann"})["id"]
    assert runs(client, q="unavailable", payload__customer="ann") == [one]
    assert runs(client, payload__customer="ann") == [done, one]
    assert runs(client, payload__customer="ann", workflow=workflow) == [one]


def test_log_entries_are_found_by_what_they_say(client: Client, sink: Endpoint) -> None:
    """Keys, values and error messages; case and accents make no difference."""
    workflow = create(client, saying("Grüße from Zürich, order {{ trigger.id }}"))
    first, second = (run(client, workflow, {"id": n})["id"] for n in (41, 42))
    failed = run(client, create(client, calling(sink, "503/x")))["id"]
    assert logs(client, "zurich") == [(second, "a"), (first, "a")]
    assert logs(client, '"order 42"') == [(second, "a")]
    assert logs(client, "unavailable") == [(failed, "n1")]
    assert logs(client, "problem") == [(failed, "n1")]
    assert logs(client, "zur*", workflow=workflow, level="success") == [(second, "a"), (first, "a")]
    assert logs(client, "zur*", level="error") == []


def test_a_replayed_entry_is_found_where_it_happened(client: Client) -> None:
    """A resume copies entries; a search would else show each of them again."""
    workflow = create(client, saying("unmistakable"))
    original = run(client, workflow)["id"]
    resumed = client.post(
        f"/workflows/runs/{original}/resume-from/a", {"allow_completed": True}, Prefer="wait=30"
    )
    assert len(resumed.json["new_run"]["logs"]) == 2
    assert logs(client, "unmistakable") == [(original, "a")]


def test_a_tenant_finds_nothing_of_another(client: Client, searched: Service) -> None:
    """Neither by words nor by fields, nor by naming a workflow that is another's."""
    workflow = create(client, saying("ours alone"))
    mine = run(client, workflow, {"kind": "private"})["id"]
    assert runs(client, payload__kind="private") == [mine]
    assert logs(client, "ours") == [(mine, "a")]
    other = searched.client("somebody else")
    assert runs(other, payload__kind="private") == []
    assert logs(other, "ours") == []
    for path in ("runs/search?payload.kind=private", "logs/search?q=ours"):
        refused(other.get(f"/workflows/{path}&workflow={workflow}"), 422, "parameter_invalid")
    other.close()


def test_what_belongs_to_a_deleted_workflow_is_not_found(client: Client) -> None:
    """All routes answer 404 for its runs."""
    workflow = create(client, saying("soon gone"))
    mine = run(client, workflow, {"kind": "gone"})["id"]
    assert (runs(client, payload__kind="gone"), logs(client, "soon")) == ([mine], [(mine, "a")])
    before = client.get("/workflows").headers["x-refold-position"]
    assert client.call("DELETE", f"/workflows/{workflow}").status == 204
    assert (runs(client, payload__kind="gone"), logs(client, "soon")) == ([], [])
    # As of the moment before, they are found as they were found then.
    assert runs(client, payload__kind="gone", as_of=f"p{before}") == [mine]
    assert logs(client, "soon", as_of=f"p{before}") == [(mine, "a")]


def test_an_answer_as_of_its_position_is_the_same_for_ever(client: Client, sink: Endpoint) -> None:
    """Byte for byte, however much has happened since."""
    workflow = create(client, calling(sink, "503/x"))
    run(client, workflow, {"k": "v"})
    paths = ("runs/search?q=unavailable", "runs/search?payload.k=v", "logs/search?q=problem")
    before = {path: client.get(f"/workflows/{path}") for path in paths}
    run(client, workflow, {"k": "v"})
    for path, reply in before.items():
        again = client.get(f"/workflows/{path}&as_of=p{reply.headers['x-refold-position']}")
        assert again.body == reply.body
        assert len(client.get(f"/workflows/{path}").json["data"]) == len(reply.json["data"]) + 1


@pytest.mark.parametrize("path", ["runs/search?q=unavailable", "runs/search?payload.k=v",
                                  "logs/search?q=problem"])  # fmt: skip
def test_the_cursor_leads_through_all_pages(client: Client, sink: Endpoint, path: str) -> None:
    """Each entry once, in order, however small the pages are."""
    workflow = create(client, calling(sink, "503/x"))
    for _ in range(5):
        run(client, workflow, {"k": "v"})
    whole = client.get(f"/workflows/{path}").json
    assert (len(whole["data"]), whole["next_cursor"]) == (5, None)
    found: list[Any] = []
    more: str | None = ""
    while more is not None:
        page = client.get(f"/workflows/{path}&limit=2{more}").json
        assert 1 <= len(page["data"]) <= 2
        found += page["data"]
        more = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
    assert found == whole["data"]


HOSTILE = (
    '"', '""', '"a', 'a"b"c', "a OR b", "NOT a", "a NEAR b", "NEAR(a b, 2)", "scope:t", "words : a",
    "{words} : a", "-words : a", "^a", "a + b", "a* *", "**", "(a", "a)", "();--", "' OR 1=1 --",
    "%", "\\", "\0", "a\0b", "a,b", "é́", "日本", "😀", "\u202e", "x" * 500, "a " * 16,
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_no_query_means_anything_but_its_words(client: Client, text: str) -> None:
    """Whatever stands in it, it is found or not found, or refused because it has no word."""
    mine = run(client, create(client, saying("a b c")), {"q": "v"})["id"]
    asked = quote(text, safe="")
    for path in (f"runs/search?q={asked}", f"logs/search?q={asked}"):
        reply = client.get(f"/workflows/{path}")
        if any(letter.isalnum() for letter in text):
            assert reply.status == 200, reply.body
            assert {entry.get("execution_id") for entry in reply.json["data"]} <= {mine}
        else:
            assert refused(reply, 422, "parameter_invalid").keys() == {"q"}
    assert runs(client, **{f"payload.{text[:200]}": text[:256]}) == []


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("runs/search", "q"),
        ("runs/search?workflow=fl_x", "q"),
        ("runs/search?q=", "q"),
        (f"runs/search?q={'x' * 501}", "q"),
        (f"runs/search?q={'x+' * 17}", "q"),
        ("runs/search?q=a&limit=0", "limit"),
        ("runs/search?q=a&limit=101", "limit"),
        ("runs/search?q=a&cursor=0", "cursor"),
        ("runs/search?q=a&cursor=x", "cursor"),
        ("runs/search?q=a&workflow=fl_x", "workflow"),
        ("runs/search?payload.=a", "payload."),
        (f"runs/search?payload.a={'x' * 257}", "payload.a"),
        ("runs/search?" + "&".join(f"payload.{n}=1" for n in range(6)), "payload."),
        ("logs/search", "q"),
        ("logs/search?q=a&level=loud", "level"),
    ],
)
@pytest.mark.parametrize("is_on", [True, False])
def test_a_bad_parameter_is_refused_by_name(
    api: Service, searched: Service, org: str, path: str, field: str, is_on: bool
) -> None:
    """Also where nothing is switched on; 422 says which."""
    client = (searched if is_on else api).client(org)
    reply = client.get(f"/workflows/{path}")
    if field == "workflow" and not is_on:
        refused(reply, 409, "search_off")
    else:
        code = "parameter_missing" if reply.json["code"] == "parameter_missing" else None
        assert refused(reply, 422, code or "parameter_invalid").keys() == {field}
    client.close()


def test_a_search_that_is_not_switched_on_says_so(api: Service, org: str) -> None:
    """409 with a code of its own, and what to switch on."""
    client = api.client(org)
    for path, setting in (
        ("runs/search?q=a", "errors"),
        ("runs/search?payload.a=b", "payloads"),
        ("logs/search?q=a", "logs"),
    ):
        reply = client.get(f"/workflows/{path}")
        refused(reply, 409, "search_off")
        assert f"--search {setting}" in reply.json["message"]
    assert not list(api.data.glob("views.search_*"))
    client.close()
