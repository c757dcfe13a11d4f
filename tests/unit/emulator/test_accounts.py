"""The emulator's check of keys and signed tokens."""

from __future__ import annotations

import jwt
import pytest

from airflow_kling.api.auth import KeyPair, sign_token
from airflow_kling.emulator.accounts import account_of, check_authorization
from airflow_kling.emulator.refusals import Refusal, Shape
from airflow_kling.emulator.settings import (
    DEFAULT_ACCESS_KEY,
    DEFAULT_KEY,
    DEFAULT_SECRET_KEY,
    Dialect,
    EmulatorSettings,
)

NOW = 1_740_000_000.0
PAIR = KeyPair(DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY)


def check(header, dialect=Dialect.KLING, now=NOW, **settings):
    return check_authorization(header, dialect, EmulatorSettings(**settings), now)


def code_of(header, dialect=Dialect.KLING, **options):
    with pytest.raises(Refusal) as caught:
        check(header, dialect, **options)
    assert caught.value.http_status == 401
    return caught.value.code


def token(secret=DEFAULT_SECRET_KEY, algorithm="HS256", **claims):
    standard = {"iss": DEFAULT_ACCESS_KEY, "exp": int(NOW) + 1800, "nbf": int(NOW) - 5}
    return "Bearer " + jwt.encode(standard | claims, secret, algorithm=algorithm)


@pytest.mark.parametrize("dialect", Dialect)
def test_the_default_key(dialect):
    assert check(f"Bearer {DEFAULT_KEY}", dialect) == "emulator"


def test_a_token_as_our_client_signs_it():
    assert check(f"Bearer {sign_token(PAIR, NOW)}") == "emulator"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, 1001),
        ("", 1001),
        ("Bearer", 1002),
        ("Bearer ", 1002),
        ("Basic abc", 1002),
        ("Bearer wrong-key", 1002),
        ("Bearer a.b.c", 1002),
        (token(exp=int(NOW) - 1), 1004),
        (token(exp=int(NOW)), 1004),
        (token(nbf=int(NOW) + 60), 1003),
        (token(iss="somebody"), 1000),
        (token(secret="another-secret-of-at-least-32-bytes!"), 1000),
        (token(exp="soon"), 1002),
        (token(algorithm="HS512", secret=DEFAULT_SECRET_KEY * 2), 1002),
    ],
)
def test_refused_on_kling(header, code):
    assert code_of(header) == code


def test_a_token_without_end_is_refused():
    endless = jwt.encode({"iss": DEFAULT_ACCESS_KEY}, DEFAULT_SECRET_KEY)
    assert code_of(f"Bearer {endless}") == 1002


@pytest.mark.parametrize("header", [None, "Bearer wrong-key", token()])
def test_refused_on_a_gateway_with_its_error_object(header):
    with pytest.raises(Refusal) as caught:
        check(header, Dialect.GATEWAY)
    assert caught.value.shape is Shape.GATEWAY_ERROR
    assert caught.value.http_status == 401


def test_other_keys():
    assert check("Bearer mine", keys=("mine",)) == account_of("mine")
    assert code_of(f"Bearer {DEFAULT_KEY}", keys=("mine",)) == 1002
    assert check("Bearer whatever", keys=None) == account_of("whatever")
    assert account_of("mine") != account_of("whatever")


def test_an_account_does_not_give_its_key_away():
    assert "secret" not in account_of("secret-key")
