"""The bearer token: a key as it is, or a JWT as documented, signed again in time."""

from __future__ import annotations

import jwt
import pytest

from airflow_kling.api.auth import ApiKey, KeyPair, TokenSource, sign_token

PAIR = KeyPair("access-key", "secret-key-of-at-least-32-characters!")
NOW = 1_800_000_000


def claims(token: str, secret: str = PAIR.secret_key) -> dict:
    return jwt.decode(token, secret, algorithms=["HS256"], options={"verify_exp": False, "verify_nbf": False})


@pytest.mark.parametrize("now", [0, NOW, NOW + 10_000_000])
def test_api_key_is_sent_as_it_is_for_ever(now):
    source = TokenSource(ApiKey("sk-key"))
    source.renew()

    assert source.token(now) == "sk-key"
    assert not source.renewable


@pytest.mark.parametrize("now", [NOW, NOW + 0.999])
def test_token_holds_the_documented_claims_and_header(now):
    token = sign_token(PAIR, now)

    assert claims(token) == {"iss": "access-key", "exp": NOW + 1800, "nbf": NOW - 5}
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}


def test_token_is_signed_with_the_secret_key():
    with pytest.raises(jwt.InvalidSignatureError):
        claims(sign_token(PAIR, NOW), "another-secret-of-at-least-32-characters")


def test_token_is_kept_until_five_minutes_before_its_end():
    source = TokenSource(PAIR)
    first = source.token(NOW)

    assert source.token(NOW + 1) == source.token(NOW + 1500) == first
    second = source.token(NOW + 1501)
    assert claims(second)["exp"] == NOW + 1501 + 1800
    assert source.token(NOW + 1501 + 1500) == second
    assert source.token(NOW + 1501 + 1501) != second


@pytest.mark.parametrize("fraction", [0.0, 0.25])
def test_token_at_hand_is_good_for_five_minutes(fraction):
    source = TokenSource(PAIR)
    start = NOW + fraction

    for step in range(0, 4000, 50):
        left = claims(source.token(start + step))["exp"] - (start + step)
        assert 300 - 1 < left <= 1800


def test_renewed_token_is_signed_anew_and_kept():
    source = TokenSource(PAIR)
    first = source.token(NOW)

    source.renew()
    second = source.token(NOW + 10)

    assert source.renewable
    assert claims(second)["nbf"] == claims(first)["nbf"] + 10
    assert source.token(NOW + 20) == second


@pytest.mark.parametrize("credentials", [ApiKey("s3cr3t"), KeyPair("s3cr3t", "s3cr3t")])
def test_credentials_are_not_shown(credentials):
    source = TokenSource(credentials)

    assert "s3cr3t" not in f"{credentials!r} {credentials} {source!r}"
