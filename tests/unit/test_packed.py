"""Packed arrays arrive as what they are: read back by PostgreSQL in tests/integration."""

import struct

import pytest

from pipeline.postgres.arrays import pack_bytes, pack_integers, pack_json, pack_texts


def test_an_array_has_its_element_type_and_length() -> None:
    packed = pack_integers([1, -2])
    assert struct.unpack_from(">iiIii", packed) == (1, 0, 20, 2, 1)
    assert struct.unpack_from(">iqiq", packed, 20) == (8, 1, 8, -2)
    assert pack_integers([7], "integer")[20:] == struct.pack(">ii", 4, 7)


def test_texts_are_utf_8_and_json_has_its_version() -> None:
    assert pack_texts(["\u00e9"])[20:] == b"\0\0\0\2\xc3\xa9"
    assert pack_json(["{}"])[20:] == b"\0\0\0\3\x01{}"
    assert pack_bytes([b"", b"a"])[20:] == b"\0\0\0\0\0\0\0\1a"


def test_no_element_is_no_dimension() -> None:
    assert pack_integers([]) == struct.pack(">iii", 0, 0, 20)


def test_a_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(struct.error):
        pack_integers([2**63])
