"""Loading without garbage collection: off meanwhile, on again afterwards whatever happens."""

from __future__ import annotations

import gc
import sys

import pytest

from firenet_mri.cli.loading import loading


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """Return what is called of ``gc`` in a process that seems to have no torch yet."""
    made: list[str] = []
    monkeypatch.delitem(sys.modules, "torch")
    for name in ("disable", "freeze", "enable"):
        monkeypatch.setattr(gc, name, lambda name=name: made.append(name))
    return made


def test_nothing_is_collected_while_torch_is_loaded_nor_looked_at_again(calls) -> None:
    with loading():
        assert calls == ["disable"]
    assert calls == ["disable", "freeze", "enable"]


def test_garbage_is_collected_again_after_an_error(calls) -> None:
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert calls[-1] == "enable"


def test_a_process_that_has_torch_or_collects_nothing_is_left_alone(calls, monkeypatch) -> None:
    monkeypatch.setattr(gc, "isenabled", lambda: False)
    with loading():
        pass
    monkeypatch.setattr(gc, "isenabled", lambda: True)
    monkeypatch.setitem(sys.modules, "torch", object())
    with loading():
        pass
    assert calls == []
