"""The command line: exit codes, and errors that say what to do."""

import msgspec
import pytest
import structlog

from afstand.cli import main
from tests.afstand.test_cases import GOOD
from tests.afstand.test_config import SECRET


@pytest.fixture(autouse=True)
def _logs_as_before():
    """The command sets up logging for its process; the next test is another one."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_without_a_command_it_says_what_there_is(capsys):
    assert main([]) == 2
    assert "intake" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["no-such-command"], ["orders"], ["incidents", "dispose"]])
def test_wrong_usage_is_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_check_config_tells_every_problem(tmp_path, capsys):
    file = tmp_path / "a.toml"
    file.write_text('[broker]\nport = "x"\n[watch]\nreplicas = 0\n')
    assert main(["check-config", str(file)]) == 1
    said = capsys.readouterr().err
    assert f"{file}: broker.port" in said
    assert f"{file}: watch.replicas" in said


def test_check_config_asks_for_the_master_key(tmp_path, capsys, monkeypatch):
    file = tmp_path / "a.toml"
    file.write_text("")
    assert main(["check-config", str(file)]) == 1
    assert "registry.master_key" in capsys.readouterr().err
    monkeypatch.setenv("K", "22" * 32)
    monkeypatch.setenv("S", SECRET)
    file.write_text('[registry]\nmaster_key = "env:K"\n')
    assert main(["check-config", str(file)]) == 0
    assert "good" in capsys.readouterr().out


def test_orders_import_checks_without_writing(tmp_path, capsys):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_bytes(msgspec.json.encode(GOOD))
    bad.write_bytes(msgspec.json.encode(GOOD | {"cases": [{"id": "c", "plan": "none"}]}))
    assert main(["orders", "import", "--check", str(good)]) == 0
    assert main(["orders", "import", str(bad)]) == 1
    assert f"{bad}: cases[0].plan: no plan none" in capsys.readouterr().err


def test_a_store_that_is_not_there_is_said_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("K", "22" * 32)
    monkeypatch.setenv("AFSTAND_REGISTRY__MASTER_KEY", "env:K")
    monkeypatch.setenv("AFSTAND_STORE__URL", f"unix://{tmp_path}/none.sock")
    good = tmp_path / "good.json"
    good.write_bytes(msgspec.json.encode(GOOD))
    assert main(["orders", "import", str(good)]) == 1
    assert "the store does not answer" in capsys.readouterr().err
