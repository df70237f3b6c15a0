"""tools/check_device.py: what of it needs no GPU."""

from __future__ import annotations

import runpy
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

ROOT = Path(__file__).parents[1]
TOOL = SimpleNamespace(**runpy.run_path(str(ROOT / "tools/check_device.py")))
CPU = torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_sentence_with_a_status_of_its_own(capsys) -> None:
    assert TOOL.main() == TOOL.NO_DEVICE == 77
    assert capsys.readouterr().out.count("\n") == 1


def test_it_finds_every_file_whose_tests_skip_without_a_gpu() -> None:
    names = {path.name for path in TOOL.device_tests(ROOT / "tests")}
    others = {"test_timed.py", "test_frame_learner.py", "test_learned_network.py"}
    assert names == {"test_device.py", "test_adapter.py"} | others


def test_no_test_asks_for_a_gpu_without_the_marker() -> None:
    sources = [path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__)]
    words = ".cuda()", '("cpu", "cuda")'
    texts = {path: path.read_text(encoding="utf-8") for path in sources}
    asking = {path for path, text in texts.items() if any(word in text for word in words)}
    assert asking == set(TOOL.device_tests(ROOT / "tests"))


def test_tests_that_pass_fail_and_skip_are_counted(tmp_path) -> None:
    report = tmp_path / "report.xml"
    suite = '<testsuite errors="1" failures="2" skipped="3" tests="10"/>'
    report.write_text(f"<testsuites>{suite}</testsuites>")
    assert TOOL.count(report) == (4, 3, 3)
    assert not TOOL.count(report).are_good
    assert TOOL.Counts(4, 0, 3).are_good
    # All skipped is no success.
    assert not TOOL.Counts(0, 0, 6).are_good


@pytest.mark.slow
def test_tests_with_the_marker_are_run_and_no_others(tmp_path) -> None:
    file = tmp_path / "test_some.py"
    marked = "import pytest\n\n@pytest.mark.cuda\ndef test_a():\n    assert {}\n"
    unmarked = "\ndef test_b():\n    pass\n"
    for holds, expected in ((True, (1, 0, 0)), (False, (0, 1, 0))):
        file.write_text(marked.format(holds) + unmarked)
        assert TOOL.run_tests([file]) == expected


def test_the_median_is_of_every_work_by_itself() -> None:
    calls: list[str] = []

    def sleep() -> None:
        calls.append("slow")
        time.sleep(0.002)

    slow, fast = TOOL.median_ms([sleep, lambda: calls.append("fast")], CPU, 3)
    assert slow > 2 > fast
    assert calls == ["slow", "fast"] * 5


@pytest.mark.parametrize("whole", [True, False])
def test_layers_of_both_networks_are_timed(whole) -> None:
    size = TOOL.Size(2, (16, 20), whole, "undecimated-haar+undecimated-dct3")
    y, encoding = TOOL.random_scan(size)
    _, axes, *_ = encoding.residual(y).workload()
    assert len(axes) == 2 - whole
    rows = list(TOOL.time_layers(size, CPU, 1))
    assert [row.network for row in rows] == ["haar", "undecimated-haar+undecimated-dct3"]
    assert all(min(row.fft_ms, row.layer_ms) > 0 for row in rows)


def test_the_table_shows_layer_over_ffts() -> None:
    *_, line = TOOL.table([TOOL.Row("16 x 20", "haar", 2.0, 5.0)]).splitlines()
    assert line == "| 16 x 20 | haar | 2.00 | 5.00 | 2.5 |"
