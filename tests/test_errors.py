"""Messages are as long as somebody reads, whatever they quote."""

from __future__ import annotations

import logging
import pickle
import sys
from pathlib import Path

import pytest

from firenet_mri.errors import LONGEST_MESSAGE, DataError, UsageError, shortened
from firenet_mri.io.kspace.ismrmrd_header import parse_header
from firenet_mri.io.tables import cell, text_of_cell
from firenet_mri.reconstruction.options import ReconstructionOptions

sys.path.insert(0, str(Path(__file__).parent / "io" / "kspace"))


def test_a_message_keeps_its_beginning_and_its_end() -> None:
    text = "scan.h5: " + "x" * 20_000_000 + "; use another"
    found = str(DataError(text))
    assert LONGEST_MESSAGE - 60 < len(found) <= LONGEST_MESSAGE
    assert found.startswith("scan.h5: xxx")
    assert found.endswith("xxx; use another")
    assert "[... 19998082 characters left out ...]" in found
    assert str(pickle.loads(pickle.dumps(DataError(text)))) == found


@pytest.mark.parametrize("length", [0, 1, LONGEST_MESSAGE - 1, LONGEST_MESSAGE])
def test_a_short_message_is_left_alone(length) -> None:
    assert shortened("a" * length) == "a" * length


@pytest.mark.parametrize("name", ["preset", "layers", "x"])
def test_a_parameter_of_20_mb_makes_no_message_of_20_mb(name) -> None:
    with pytest.raises(UsageError) as caught:
        ReconstructionOptions.from_mapping({name: "many" * 5_000_000})
    assert len(str(caught.value)) < 3000


def test_a_header_of_many_faults_makes_few_lines(caplog) -> None:
    from ismrmrd.xsd import ToXML
    from mrd_scans import make_header

    text = ToXML(make_header((8, 8, 1)))
    wrong = "".join(f"<wrong{i}{'x' * 1000}>1</wrong{i}{'x' * 1000}>" for i in range(500))
    with caplog.at_level(logging.WARNING):
        parse_header(text.replace("</encoding>", wrong + "</encoding>").encode(), "scan.h5")
    assert len(caplog.records) == 21
    assert "480 further faults" in caplog.records[-1].getMessage()
    assert max(len(record.getMessage()) for record in caplog.records) < 300


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''@a"])
def test_a_cell_is_no_formula_and_is_read_back(text) -> None:
    assert cell(text) == "'" + text
    assert text_of_cell(cell(text)) == text


@pytest.mark.parametrize("text", ["", "scan.h5", "a=1", "'quoted'", "3 x 4", "1-2"])
def test_a_harmless_cell_is_left_alone(text) -> None:
    assert cell(text) == text_of_cell(text) == text
