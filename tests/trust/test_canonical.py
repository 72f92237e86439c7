import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.errors import WardroundError
from wardround.trust.canonical import canonical, digest, digest_json, parse_digest, parse_json

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def test_rfc_8785_section_3_2_2_sample() -> None:
    source = rb"""{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    assert (
        canonical(parse_json(source))
        == (
            '{"literals":[null,true,false],'
            '"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
            '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
        ).encode()
    )


def test_rfc_8785_section_3_2_3_sorts_by_utf_16() -> None:
    source = rb"""{
      "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
      "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control",
      "\u00f6": "Latin Small Letter O With Diaeresis"
    }"""
    assert list(json.loads(canonical(parse_json(source))).values()) == [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ]


@pytest.mark.parametrize(
    ("bits", "text"),
    [  # RFC 8785 appendix B
        (0x0000000000000000, "0"),
        (0x8000000000000000, "0"),
        (0x0000000000000001, "5e-324"),
        (0x8000000000000001, "-5e-324"),
        (0x7FEFFFFFFFFFFFFF, "1.7976931348623157e+308"),
        (0xFFEFFFFFFFFFFFFF, "-1.7976931348623157e+308"),
        (0x4340000000000000, "9007199254740992"),
        (0xC340000000000000, "-9007199254740992"),
        (0x4430000000000000, "295147905179352830000"),
        (0x44B52D02C7E14AF5, "9.999999999999997e+22"),
        (0x44B52D02C7E14AF6, "1e+23"),
        (0x44B52D02C7E14AF7, "1.0000000000000001e+23"),
        (0x444B1AE4D6E2EF4E, "999999999999999700000"),
        (0x444B1AE4D6E2EF4F, "999999999999999900000"),
        (0x444B1AE4D6E2EF50, "1e+21"),
        (0x3EB0C6F7A0B5ED8C, "9.999999999999997e-7"),
        (0x3EB0C6F7A0B5ED8D, "0.000001"),
        (0x41B3DE4355555553, "333333333.3333332"),
        (0x41B3DE4355555554, "333333333.33333325"),
        (0x41B3DE4355555555, "333333333.3333333"),
        (0x41B3DE4355555556, "333333333.3333334"),
        (0x41B3DE4355555557, "333333333.33333343"),
        (0xBECBF647612F3696, "-0.0000033333333333333333"),
        (0x43143FF3C1CB0959, "1424953923781206.2"),
    ],
)
def test_rfc_8785_appendix_b_numbers(bits: int, text: str) -> None:
    (value,) = struct.unpack(">d", bits.to_bytes(8, "big"))
    assert canonical(value) == text.encode()


@given(json_values)
def test_what_was_written_is_read_back(value: object) -> None:
    data = canonical(value)
    assert parse_json(data) == value
    assert canonical(parse_json(data)) == data


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, 2**53, "\ud800", {1: 2}, {"\ud800": 1}, b"x"]
)
def test_values_without_a_canonical_form_are_refused(value: object) -> None:
    with pytest.raises(WardroundError) as caught:
        canonical(value)
    assert caught.value.code == "WR-TRUST-001"


def test_endless_nesting_is_refused() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(WardroundError, match="WR-TRUST-001"):
        canonical(deep)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"a":1,"a":2}',
        b'[{"b":{"a":1,"a":1}}]',
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b"{}{}",
        b"{'a':1}",
        b'"\\ud800"',
        b"\xef\xbb\xbf{}",
        b'"\xff"',
        '"x"'.encode("utf-16"),
        b"[" * 200_000,
        b"1" * 5000,
        b"9007199254740993",
        b"-9007199254740993",
    ],
)
def test_lax_json_is_refused(data: bytes) -> None:
    with pytest.raises(WardroundError) as caught:
        parse_json(data, code="WR-TRUST-020", what="envelope")
    assert caught.value.code == "WR-TRUST-020"


def test_errors_tell_nothing_of_the_content() -> None:
    with pytest.raises(WardroundError) as caught:
        parse_json(b'{"patient": canary-4711}')
    shown: BaseException | None = caught.value
    assert "canary" not in str(shown)
    assert shown is not None and shown.__suppress_context__


@given(st.binary(max_size=60))
def test_any_bytes_parse_or_raise_the_code(data: bytes) -> None:
    try:
        parse_json(data)
    except WardroundError as error:
        assert error.code == "WR-TRUST-002"


def test_digests() -> None:
    empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest(b"") == empty
    assert digest(memoryview(b"")) == empty
    assert digest_json({"b": 1, "a": 2}) == digest(b'{"a":2,"b":1}')
    assert parse_digest(empty) == empty


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "A" * 64, "sha256:" + "a" * 64 + "\n", 5]
)
def test_malformed_digests_are_refused(text: str | int) -> None:
    with pytest.raises(WardroundError, match="WR-TRUST-003"):
        parse_digest(text)
