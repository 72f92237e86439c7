import base64
import hashlib
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from wardround.errors import WardroundError
from wardround.trust.keys import SigningKey, VerifyKey
from wardround.trust.replay import ReplayCache
from wardround.trust.requests import sign_request, signature_base, verify_request

NOW = 1_780_000_000
KEY = SigningKey.generate()
KEYID = "spiffe://example.org/study/wdbc/site/lakeside"
URL = "https://coordinator.example.org:8443/v1/runs/7/parts/3?of=9&x=%20"
TARGET = "/v1/runs/7/parts/3?of=9&x=%20"
BODY = b"masked"


def known(keyid: str) -> VerifyKey | None:
    return KEY.public if keyid == KEYID else None


def signed(
    url: str = URL, method: str = "PUT", body: bytes = BODY, now: int = NOW
) -> dict[str, str]:
    return sign_request(KEY, KEYID, method, url, body, now)


def check(
    headers: dict[str, str],
    url: str = TARGET,
    method: str = "PUT",
    body: bytes = BODY,
    now: int = NOW,
    replay: ReplayCache | None = None,
) -> str:
    return verify_request(known, method, url, headers, body, now, replay or ReplayCache())


def refused(code: str) -> pytest.RaisesExc[WardroundError]:
    return pytest.raises(WardroundError, match=code)


def test_rfc_9421_appendix_b_2_6_vector() -> None:
    private = load_pem_private_key(
        b"-----BEGIN PRIVATE KEY-----\n"
        b"MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n"
        b"-----END PRIVATE KEY-----\n",
        None,
    )
    key = SigningKey(private)
    base = signature_base(
        [
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("@method", "POST"),
            ("@path", "/foo"),
            ("@authority", "example.com"),
            ("content-type", "application/json"),
            ("content-length", "18"),
        ],
        '("date" "@method" "@path" "@authority" "content-type" "content-length")'
        ';created=1618884473;keyid="test-key-ed25519"',
    )
    assert base64.b64encode(key.sign(base)).decode() == (
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    )


def test_rfc_9530_digest_of_the_body() -> None:
    # RFC 9530 appendix B.1: {"hello": "world"} and a line feed
    headers = signed(body=b'{"hello": "world"}\n')
    assert headers["content-digest"] == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"


@pytest.mark.parametrize(
    ("url", "path", "query"),
    [
        (URL, "/v1/runs/7/parts/3", "?of=9&x=%20"),
        ("https://example.org", "/", "?"),
        ("https://example.org?x=1", "/", "?x=1"),
        ("http://127.0.0.1:1/a/?", "/a/", "?"),
    ],
)
def test_the_usual_library_agrees(url: str, path: str, query: str) -> None:
    hms = pytest.importorskip("http_message_signatures")

    class Keys(hms.HTTPSignatureKeyResolver):
        def resolve_public_key(self, key_id: str) -> object:
            assert key_id == KEYID
            return KEY.to_cryptography().public_key()

        def resolve_private_key(self, key_id: str) -> object:
            return KEY.to_cryptography()

    now = datetime.now(UTC)
    ours = signed(url, now=int(now.timestamp()))
    message = SimpleNamespace(method="PUT", url=url, headers=dict(ours))
    verifier = hms.HTTPMessageVerifier(
        signature_algorithm=hms.algorithms.ED25519, key_resolver=Keys()
    )
    (result,) = verifier.verify(
        message, max_age=timedelta(minutes=5), expect_tag="wardround", body=BODY
    )
    assert result.covered_components['"@path"'] == path
    assert result.covered_components['"@query"'] == query

    signer = hms.HTTPMessageSigner(signature_algorithm=hms.algorithms.ED25519, key_resolver=Keys())
    message = SimpleNamespace(
        method="PUT", url=url, headers={"Content-Digest": ours["content-digest"]}
    )
    signer.sign(
        message,
        key_id=KEYID,
        created=now,
        nonce="A" * 22,
        label="wardround",
        use_existing_digest=True,
        tag="wardround",
        covered_component_ids=("@method", "@path", "@query", "content-digest"),
    )
    theirs = {name.lower(): value for name, value in message.headers.items()}
    # Parameters have no fixed order in RFC 9421; ours is the one order that we accept.
    base = signature_base(
        [("@method", "PUT"), ("@path", path), ("@query", query),
         ("content-digest", ours["content-digest"])],
        theirs["signature-input"].removeprefix("wardround="),
    )  # fmt: skip
    KEY.public.verify(
        base64.b64decode(theirs["signature"].removeprefix("wardround=:").removesuffix(":")), base
    )


def test_a_signed_request_tells_its_signer() -> None:
    assert check(signed()) == KEYID
    assert check(signed(TARGET)) == KEYID
    # a load balancer may change scheme and host
    assert check(signed(), url="http://inside:80" + TARGET) == KEYID
    assert check(signed(body=b""), body=b"") == KEYID


def test_a_known_hash_spares_hashing() -> None:
    sha256 = hashlib.sha256(BODY).digest()
    headers = sign_request(KEY, KEYID, "PUT", URL, b"", NOW, body_sha256=sha256)
    assert check(headers) == KEYID
    found = verify_request(
        known, "PUT", TARGET, headers, b"", NOW, ReplayCache(), body_sha256=sha256
    )
    assert found == KEYID


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("WR-TRUST-042", {"method": "POST"}),
        ("WR-TRUST-042", {"url": "/v1/runs/7/parts/4?of=9&x=%20"}),
        ("WR-TRUST-042", {"url": "/v1/runs/7/parts/3?of=8&x=%20"}),
        ("WR-TRUST-042", {"url": "/v1/runs/7/parts/3"}),
        ("WR-TRUST-042", {"url": "/v1/runs/7/parts/3?of=9&x=+"}),
        ("WR-TRUST-043", {"body": b"maskeD"}),
        ("WR-TRUST-043", {"body": b""}),
        ("WR-TRUST-044", {"now": NOW + 301}),
        ("WR-TRUST-044", {"now": NOW - 301}),
    ],
)
def test_everything_covered_is_checked(code: str, change: dict[str, object]) -> None:
    with refused(code):
        check(signed(), **change)


def test_clocks_may_differ_by_the_window() -> None:
    assert check(signed(), now=NOW + 300) == check(signed(), now=NOW - 300) == KEYID


@given(st.data())
def test_any_altered_letter_of_any_field_is_found(data: st.DataObject) -> None:
    headers = signed()
    name = data.draw(st.sampled_from(sorted(headers)))
    value = headers[name]
    position = data.draw(st.integers(0, len(value) - 1))
    letter = data.draw(st.characters().filter(lambda c: c != value[position]))
    headers[name] = value[:position] + letter + value[position + 1 :]
    with pytest.raises(WardroundError, match=r"WR-TRUST-04[0-3]"):
        check(headers)


@pytest.mark.parametrize("name", ["content-digest", "signature-input", "signature"])
def test_a_missing_field_is_refused(name: str) -> None:
    headers = signed()
    del headers[name]
    with refused("WR-TRUST-040"):
        check(headers)


def test_covering_less_is_refused() -> None:
    headers = signed()
    headers["signature-input"] = headers["signature-input"].replace(' "content-digest"', "")
    with refused("WR-TRUST-040"):
        check(headers)


def test_another_key_is_refused() -> None:
    other = SigningKey.generate()
    with refused("WR-TRUST-042"):
        check(sign_request(other, KEYID, "PUT", URL, BODY, NOW))
    with refused("WR-TRUST-041"):
        check(sign_request(other, "somebody", "PUT", URL, BODY, NOW))


def test_a_replay_is_refused() -> None:
    replay = ReplayCache()
    headers = signed()
    check(headers, replay=replay)
    for later in (0, 1, 300):
        with refused("WR-TRUST-045"):
            check(headers, now=NOW + later, replay=replay)
    check(signed(), replay=replay)


def test_a_forged_request_uses_up_no_nonce() -> None:
    replay = ReplayCache()
    headers = signed()
    with refused("WR-TRUST-043"):
        check(headers, body=b"other", replay=replay)
    assert replay.remembered == 0
    check(headers, replay=replay)


@pytest.mark.parametrize(
    ("method", "url", "keyid"),
    [
        ("PUT", "https://example.org/a b", KEYID),
        ("PUT", "/a#b", KEYID),
        ("PUT", "/a\n", KEYID),
        ("PUT", "/ü", KEYID),
        ("PUT", "a/b", KEYID),
        ("PUT", "ftp://example.org/a", KEYID),
        ("put", "/a", KEYID),
        ("PUT\n", "/a", KEYID),
        ("PUT", "/a", 'a"b'),
        ("PUT", "/a", "a\\b"),
        ("PUT", "/a", ""),
    ],
)
def test_what_could_be_read_in_two_ways_is_not_signed(method: str, url: str, keyid: str) -> None:
    with refused("WR-TRUST-047"):
        sign_request(KEY, keyid, method, url, BODY, NOW)
