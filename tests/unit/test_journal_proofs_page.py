"""The page's proofs and threats against the code: its worked hashes are made again from vectors."""

from __future__ import annotations

import ast
import base64
import inspect
import json
import re
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from refold.journal import merkle, verifier
from refold.journal.checkpoint_keys import public_key, sign_note
from refold.scripts.verify_command import DIFFERENT, verify

ROOT = Path(__file__).parents[2]
README = (ROOT / "journal" / "README.md").read_text("utf-8")
VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text("utf-8"))
LEAVES = [bytes.fromhex(entry["leaf"]) for entry in VECTORS["entries"]]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = f"refold.example/{VECTORS['journal']}"


def root_of(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162, 2.1.1, which the page refers to."""
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"").digest()
    middle = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha256(b"\x01" + root_of(leaves[:middle]) + root_of(leaves[middle:])).digest()


def read(level: int, first: int, last: int) -> bytes:
    """Read leaves as tiles give them."""
    assert level == 0
    return b"".join(LEAVES[first:last])


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading."""
    text = README.split(f"\n{heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert table is not None
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]
    ]


WORKED = {
    "node over leaves 3 and 4 (positions from 1)": [
        sha256(b"\x01" + LEAVES[2] + LEAVES[3]).digest()
    ],
    **{f"root at size {size}": [root_of(LEAVES[:size])] for size in (0, 4, 8, 9)},
    "inclusion of entry 4 in size 9": merkle.inclusion_proof(read, 3, 9),
    "consistency from size 4 to size 9": merkle.consistency_proof(read, 4, 9),
    "a bundle's proof of entries 3 and 4 in size 9, cut at 4": merkle.joint_proof(
        read, [2, 3], 9, 4
    ),
}


def test_the_worked_proofs_are_those_of_the_vectors() -> None:
    """Somebody writes a verifier in another language by them."""
    shown = {what: re.findall(r"`([0-9a-f]{64})`", cell) for what, cell in rows(WORKED_HEADING)}
    assert shown == {what: [found.hex() for found in hashes] for what, hashes in WORKED.items()}
    bundled = WORKED["a bundle's proof of entries 3 and 4 in size 9, cut at 4"]
    roots = verifier.joint_roots({2: LEAVES[2], 3: LEAVES[3]}, 9, 4, bundled)
    assert roots == (root_of(LEAVES), root_of(LEAVES[:4]))


WORKED_HEADING = "### Worked: nine leaves, their roots, a proof, a checkpoint"


def test_the_worked_checkpoint_is_signed_as_the_page_says() -> None:
    """Key, note and signature, to the letter; and the verifier opens it."""
    key, note = public_key(ORIGIN, KEY), sign_note(ORIGIN, 9, root_of(LEAVES), [KEY])
    assert f"```text\n{key}\n```" in README
    assert f"```text\n{note.decode()}```" in README
    assert verifier.open_note(note, verifier.parse_keys([key]))[:3] == (
        ORIGIN,
        9,
        root_of(LEAVES),
    )
    assert base64.b64encode(root_of(LEAVES)).decode() in note.decode()


@cache
def functions_of(file: str) -> dict[str, str]:
    """Return the tests of a file, each with the text in which its parameters stand."""
    text = (ROOT / "tests" / file).read_text("utf-8")
    found = [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    forgeries = (ROOT / "tests" / "support" / "forgeries.py").read_text("utf-8")
    return {name: text + forgeries for name in found if name.startswith("test_")}


THREATS = rows("### What is found, and what is not")


@pytest.mark.parametrize("row", THREATS, ids=lambda row: row[0])
def test_every_threat_that_is_found_names_the_test_that_shows_it(row: list[str]) -> None:
    """A promise that no test keeps is a hope; and what is not found says so plainly."""
    _, found, level, _, test = row
    if found.startswith("no"):
        assert (level, test) == ("", "")
        return
    assert re.fullmatch(r"yes, [234]0(?: or [234]0)?", found)
    assert level in ("0", "1", "2", "3")
    named = re.fullmatch(r"`([a-z_/]+\.py)` `(test_\w+)(?:\[(.+)\])?`", test)
    assert named is not None, test
    assert named[2] in functions_of(named[1])
    assert not named[3] or f'"{named[3]}":' in functions_of(named[1])[named[2]]


def test_the_table_of_threats_knows_both_answers() -> None:
    """A page that says that everything is found is not to be believed."""
    answers = [row[1].split(",")[0] for row in THREATS]
    assert answers.count("yes") >= 15
    assert answers.count("no") >= 5


def test_exit_codes_and_flags_are_on_the_page() -> None:
    """By them a program decides."""
    codes = [int(row[0]) for row in rows("### The verifier")]
    assert codes == [
        verifier.VALID,
        verifier.ERASED,
        verifier.INCOMPLETE,
        verifier.DIVERGED,
        verifier.INVALID,
        DIFFERENT,
    ]
    usage = re.search(r"^refold verify \[.*$", README, re.MULTILINE)
    assert usage is not None
    flags = {"as_json": "--json"}
    for name, parameter in inspect.signature(verify).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name != "data":
            assert flags.get(name, f"--{name}") in usage[0]
