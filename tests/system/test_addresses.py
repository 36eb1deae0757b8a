"""Of an address only scheme, host and a port that is a number are ever printed."""

from __future__ import annotations

import pytest

from forecast.config.operation import load_retraining
from forecast.operations.hooks import notify
from forecast.system import postgres
from forecast.system.addresses import hide_addresses, hide_parts, public_address
from forecast.system.errors import ForecastError
from forecast.tracking import hold_store_lock, tracking_store
from tests.operations.test_hooks import GIVEN, NEWS, hooks

SECRET = "s3cretT0ken"
FORMS = [
    f"http://host.example:{SECRET}/",
    f"http://host.example:{SECRET}",
    f"http://{SECRET}@host.example:5000/x",
    f"http://user:{SECRET}@host.example",
    f"http://user:a/{SECRET}@host.example/x",
    f"http://user:a@{SECRET}@host.example/x",
    f"https://host.example/{SECRET}",
    f"https://host.example:8443/?token={SECRET}",
    f"https://host.example#{SECRET}",
    f"https://[::1]:80/{SECRET}",
    f"https://[{SECRET}",
    f"postgresql+psycopg://{SECRET}:{SECRET}@host.example/{SECRET}",
    f"host.example:{SECRET}",
    f"{SECRET}@host.example",
]


@pytest.mark.parametrize("address", FORMS)
def test_no_part_of_an_address_but_its_host_is_shown(address):
    assert SECRET not in public_address(address)
    assert SECRET not in hide_parts(f"Invalid part: '{SECRET}', of {address}", address)


def test_the_secret_of_another_address_is_hidden_in_a_message_about_a_public_one():
    text = f"redirected to http://user:{SECRET}@other.example/x"
    assert SECRET not in hide_parts(text, "http://tracking.example:5000")


def test_host_and_port_stay_readable():
    assert public_address("http://user:pw@host:5000/x?y#z") == "http://host:5000"
    assert public_address("https://[::1]:80/x") == "https://[::1]:80"
    assert public_address("sqlite:////data/mlflow.db") == "sqlite:////data/mlflow.db"
    assert public_address("mlruns") == "mlruns"
    assert hide_addresses("found 'http://a:b@c/d', wanted x") == "found 'http://c', wanted x"


@pytest.mark.parametrize("address", FORMS)
def test_a_webhook_that_fails_tells_nothing_of_its_address(tmp_path, address):
    address = address.replace("host.example", "127.0.0.1").replace(":5000", ":1")
    address = address.replace("http", "unknown").replace("postgresql+psycopg", "http")
    for given in (address, address.replace("unknown", "http").replace("127.0.0.1", "localhost.")):
        faults = notify(
            hooks(webhook=given, timeout_seconds=0.2),
            "failed",
            NEWS,
            root=tmp_path,
            environment=GIVEN,
        )
        assert len(faults) == 1 and SECRET not in faults[0]


def test_a_hook_that_fails_shows_no_address_of_its_words_and_no_bare_token(tmp_path):
    for event in (
        hooks(command=["false", f"https://host.example/{SECRET}"]),
        hooks(command=["sleep", "9", f"https://host.example/{SECRET}"], timeout_seconds=0.1),
        hooks(webhook=SECRET),
    ):
        faults = notify(event, "failed", NEWS, root=tmp_path, environment=GIVEN)
        assert len(faults) == 1 and SECRET not in faults[0]


def test_a_server_without_locks_is_refused_without_its_password(tmp_path, monkeypatch):
    monkeypatch.delenv(postgres.DATABASE_VARIABLE, raising=False)
    store = tracking_store(tmp_path, f"http://user:{SECRET}@mlflow.example.org/{SECRET}")
    with (
        pytest.raises(ForecastError, match="FORECAST_DATABASE") as refused,
        hold_store_lock(store, "a", purpose="A test", timeout=0.0),
    ):
        pass
    assert SECRET not in str(refused.value) and "mlflow.example.org" in str(refused.value)


@pytest.mark.parametrize("place", [f"user:{SECRET}@127.0.0.1:1/x", f"127.0.0.1:{SECRET}/x"])
def test_a_postgresql_that_does_not_answer_is_named_without_its_password(place):
    pytest.importorskip("psycopg")
    with pytest.raises(ForecastError) as refused:
        postgres.open_connection(f"postgresql://{place}", seconds=2)
    assert SECRET not in str(refused.value) and "127.0.0.1" in str(refused.value)


def test_a_wrong_webhook_in_a_file_is_not_repeated(tmp_path):
    (tmp_path / "retraining.yaml").write_text(
        f"defaults:\n  hooks:\n    webhook: [http://user:{SECRET}@host/{SECRET}]\n"
    )
    with pytest.raises(ForecastError) as refused:
        load_retraining("wave", tmp_path)
    assert SECRET not in str(refused.value) and "webhook" in str(refused.value)
