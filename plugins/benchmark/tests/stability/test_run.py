"""The whole comparison: repeatable to the byte, resumed, with failures named; the page itself."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from firenet_benchmark.stability import hashes, run
from firenet_benchmark.stability.acquisition import Acquisition
from firenet_benchmark.stability.choices import MethodChoice, short_name
from firenet_benchmark.stability.criteria import Attack, Row
from firenet_benchmark.stability.custom_networks import custom_method
from firenet_benchmark.stability.data import images
from firenet_benchmark.stability.evaluation_data import built_in, from_scans
from firenet_benchmark.stability.html_report import pages_in, write_pages
from firenet_benchmark.stability.methods import (
    ACCURATE,
    ZERO_FILLING,
    Method,
    behind,
    firenet_method,
    trained_method,
    zero_filling,
)
from firenet_benchmark.stability.run import StabilityBenchmark, compare, default_methods
from firenet_benchmark.stability.summary import frontier_goals, interval, verdicts
from firenet_mri.errors import FileError, UsageError
from firenet_mri.simulation import simulate

TINY = StabilityBenchmark(
    2, 2, 1, (2, 8), (4.0,), Attack(relative_sizes=(0.01,), steps=2, restarts=1, strong_steps=2)
)
# These have tests of their own.
OTHERS = ("jacobian", "hard-attacks")
TINY = replace(TINY, questions=tuple(q for q in TINY.questions if q not in OTHERS))


def broken(batch, kspace):
    raise RuntimeError("layer 3 does not fit\nand more")


def methods() -> list[Method]:
    return [
        zero_filling(),
        trained_method("U-Net"),
        trained_method("AUTOMAP-type"),
        Method("broken", "trained", broken, "raises"),
        firenet_method(ACCURATE, "stable", "for tests"),
        firenet_method("FIRENET lam x4", "stable", "for tests", factor=4),
        behind(trained_method("U-Net")),
    ]


@pytest.fixture(scope="module")
def compared(data, tmp_path_factory):
    return compare(methods(), TINY, tmp_path_factory.mktemp("kept"), data=data)


def test_a_broken_method_is_named_and_the_others_finish(compared) -> None:
    assert compared.failures == {"broken": "RuntimeError: layer 3 does not fit"}
    asked = Counter(row.method for row in compared.rows)
    assert "broken" not in asked
    assert asked[ZERO_FILLING] == asked["U-Net"] == asked[ACCURATE] > 100
    assert all(math.isfinite(row.value) for row in compared.rows)
    tests = {row.test for row in compared.rows if row.method == "U-Net"}
    assert {"clean", "worst case", "attack check", "random noise", "scale", "details"} <= tests
    assert {"false structures", "transfer", "contrast", "anatomy", "mask", "coils"} <= tests
    behind_unet = {row.test for row in compared.rows if row.method == "FIRENET behind U-Net"}
    assert behind_unet == {"clean", "worst case"}


@pytest.mark.slow
def test_reports_are_the_same_to_the_byte(data, tmp_path) -> None:
    # Every family and criterion, on one slice and fewer shifts.
    asked = [zero_filling(), trained_method("AUTOMAP-type"), *methods()[3:5]]
    few = replace(
        data,
        test=data.test[:1],
        attacked=data.attacked[:1],
        shifts=dict(list(data.shifts.items())[:3]),
        details=data.details[-1:],
    )
    contents = []
    for name in ("a", "b"):
        comparison = compare(asked, TINY, tmp_path / f"kept {name}", data=few)
        files = pages_in(tmp_path / name)
        write_pages(files, comparison)
        contents.append([path.read_bytes() for path in vars(files).values()])
    assert contents[0] == contents[1]
    with pytest.raises(FileError, match="overwrite"):
        pages_in(tmp_path / "a")


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, str]]:
    """Return where what is asked, and not taken from before, is written down."""
    found: list[tuple[str, str]] = []
    real = run._asked

    def counted(method, question, *args):
        found.append((method.name, question))
        if method.name == "stop":
            raise KeyboardInterrupt
        return real(method, question, *args)

    monkeypatch.setattr(run, "_asked", counted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    return found


#: Quick questions.
ACCURACY = replace(TINY, questions=("accuracy",))
TWO = replace(TINY, questions=("accuracy", "noise"))


def test_what_is_finished_is_not_done_again(data, tmp_path, asked) -> None:
    both = [trained_method("AUTOMAP-type"), replace(zero_filling(), name="stop")]
    with pytest.raises(KeyboardInterrupt):
        compare(both, ACCURACY, tmp_path, data=data)
    compare([trained_method("AUTOMAP-type"), zero_filling()], ACCURACY, tmp_path, data=data)
    assert [name for name, _ in asked] == ["AUTOMAP-type", "stop", ZERO_FILLING]
    # Another question leaves the answers that there are.
    first = compare([zero_filling()], TWO, tmp_path, data=data)
    assert asked[3:] == [(ZERO_FILLING, "noise")]
    again = compare([zero_filling()], TWO, tmp_path, data=data)
    assert len(asked) == 4
    assert again.rows == first.rows
    # A damaged file, another seed or other data are no finished measurements.
    for path in tmp_path.glob("*.pt"):
        path.write_bytes(path.read_bytes()[:100])
    compare([zero_filling()], ACCURACY, tmp_path, data=data)
    compare([zero_filling()], replace(ACCURACY, seed=1), tmp_path, data=data)
    other = replace(data, test=replace(data.test, reference=data.test.reference + 1))
    compare([zero_filling()], replace(ACCURACY, questions=("noise",)), tmp_path, data=other)
    compare([zero_filling()], ACCURACY, tmp_path, data=other)
    answers = [question for _, question in asked[4:]]
    # The noise of the damaged file is asked anew, on attacked slices that are the same.
    assert answers == ["accuracy", "accuracy", "noise", "accuracy"]


def test_an_edited_network_and_another_option_are_measured_anew(data, tmp_path, asked) -> None:
    path = tmp_path / "model.py"

    def psnr(power: int, **options) -> float:
        path.write_text(
            "from torch import nn\nclass Net(nn.Module):\n"
            f"    def forward(self, image): return image**{power}\n"
            "def make(): return Net()\n"
        )
        method = custom_method(f"{path}:make", takes="magnitude", **options)
        found = compare([method], ACCURACY, tmp_path / "kept", data=data)
        return next(row.value for row in found.rows if row.metric == "psnr_db")

    first = psnr(2)
    assert psnr(2) == first
    assert len(asked) == 1
    # The name, the words and the weights stay the same.
    edited = psnr(3)
    assert len({first, edited, psnr(2, scale=2.0), psnr(2, scale=None)}) == 4
    assert len(asked) == 4


def test_what_changes_an_image_changes_its_hash() -> None:
    network = torch.nn.BatchNorm1d(2)
    first = hashes.of_network(network)
    network.running_mean += 1
    second = hashes.of_network(network)
    network.register_buffer("hidden", torch.ones(1, dtype=torch.complex64), persistent=False)
    third = hashes.of_network(network)
    network.hidden *= 2
    assert len({first, second, third, hashes.of_network(network)}) == 4


def test_what_changes_an_image_is_in_the_name_of_what_is_kept() -> None:
    parts = dict.fromkeys(("test", "attacked", "shifts", "details"), "")

    def name(method: Method, **settings) -> str:
        return run._digest(method, "accuracy", replace(TINY, **settings), parts)

    presets = [firenet_method("x", preset, "x") for preset in ("accurate", "stable")]
    assert name(presets[0]) != name(presets[1])
    assert name(presets[0]) != name(presets[0], seed=1)
    # What else is asked does not matter.
    assert name(presets[0]) == name(presets[0], questions=("accuracy",))
    # FIRENET behind a network depends on the network's weights.
    one = trained_method("AUTOMAP-type").own_copy()
    before = name(one), name(behind(one))
    one.image.network.lines += 1
    after = name(one), name(behind(one))
    assert len({*before, *after}) == 4


def test_a_network_of_another_width_is_left_out_and_named(tmp_path) -> None:
    acquisition = Acquisition(size=(64, 72))
    small = built_in(1, 1, 1, (), acquisition, leave_out=("shifts", "details"))
    methods = [zero_filling(), trained_method("AUTOMAP-type"), trained_method("U-Net")]
    found = compare(methods, ACCURACY, tmp_path, data=small)
    assert not found.failures
    assert found.notes == {"AUTOMAP-type": "left out: it takes images 128 wide, these are 72"}
    assert {row.method for row in found.rows} == {ZERO_FILLING, "U-Net"}


def test_two_methods_of_one_name_are_refused(data, tmp_path) -> None:
    with pytest.raises(UsageError, match="Two methods are called 'zero filling'"):
        compare([zero_filling(), zero_filling()], ACCURACY, tmp_path, data=data)


def test_every_method_has_the_short_name_that_help_lists() -> None:
    names = [short_name(method.name) for method in default_methods(TINY) if run.is_main(method)]
    assert {*names, "curve", "behind"} == set(get_args(MethodChoice))
    few = default_methods(TINY, chosen=("accurate-phase", "u-net", "behind"))
    assert [method.name for method in few] == [
        "U-Net",
        "FIRENET accurate, phase",
        "FIRENET behind U-Net",
    ]
    with pytest.raises(UsageError, match="ask worst-case, too"):
        replace(TINY, questions=("transfer",))


NETWORK = """
import torch
from torch import nn
class Net(nn.Module):
    def forward(self, image): return 0.9 * image
class Numpy(nn.Module):
    def forward(self, image): return torch.from_numpy(image.numpy())
def make(): return Net()
def cut(): return Numpy()
"""


def test_the_command_gates_a_release(firenet, capsys, tmp_path) -> None:
    """What is required and missed is named, and the exit status is 1; the report says the same."""
    (tmp_path / "model.py").write_text(NETWORK)
    words = ["benchmark", "stability", "--smoke", "--size", "64", "64", "--report", tmp_path / "r"]
    words += ["--network", f"{tmp_path}/model.py:make", "--network", f"{tmp_path}/model.py:cut"]
    words += ["--takes", "magnitude", "--methods", "zero-filling", "--overwrite"]
    words += ["--questions", "accuracy", "jacobian", "--require"]
    assert firenet(*words, "jacobian<=2,psnr>=5") == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "Not met: cut: not measured, required jacobian <= 2" in shown
    assert "Met: make:" in shown
    assert "Note: cut: no Jacobian: Can't call numpy()" in shown
    assert "(yours)" in shown
    page = (tmp_path / "r" / "stability.html").read_text()
    assert "1 of 4 are not met" in page
    assert hashlib.sha256(NETWORK.encode()).hexdigest() in page
    assert "not a validation for clinical use" in page
    assert firenet(*words[:10], *words[12:], "psnr>=5", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["met"] for one in found["requirements"]] == [True]
    assert len(found["data_sha256"]) == 64
    assert found["versions"]["firenet_benchmark"]
    assert firenet(*words, "psnr>=5,lesion_5%>=1") == 2
    assert "lesion_5% is not measured" in capsys.readouterr().err


def test_intervals_are_scipys() -> None:
    from scipy.stats import t

    values = [1.0, 2.0, 4.0, 7.0]
    found = interval(values)
    low, high = t.interval(0.95, 3, np.mean(values), np.std(values, ddof=1) / 2)
    assert found[:3] == pytest.approx((3.5, low, high))
    assert math.isnan(interval([1.0]).low)


def test_who_is_ahead_is_said_only_where_the_interval_says_so(compared) -> None:
    def rows(name: str, values: list[float]) -> list[Row]:
        return [Row(name, "clean", "all", str(i), "psnr_db", v) for i, v in enumerate(values)]

    for own, expected in (
        ([31.0, 32.1, 33.0], "FIRENET"),
        ([29.0, 30.1, 31.0], "trained"),
        ([20.0, 31.0, 42.1], "neither"),
        ([30.0, 31.0, 32.0], "neither"),
    ):
        one = replace(compared, rows=tuple(rows("U-Net", [30.0, 31.0, 32.0]) + rows(ACCURATE, own)))
        (verdict,) = verdicts(one)
        assert verdict.ahead == expected


def test_the_frontier_compares_the_same_slices(compared) -> None:
    goals = {
        name: (own, clean, attacked) for name, own, clean, attacked in frontier_goals(compared)
    }
    assert set(goals) == {"U-Net", "AUTOMAP-type"}
    own, clean, _ = goals["U-Net"]

    def mean(method: str) -> float:
        found = [
            row.value
            for row in compared.rows
            if (row.method, row.test, row.metric) == (method, "clean", "psnr_db")
        ]
        return sum(found) / len(found)

    assert clean == pytest.approx(mean(own) - mean("U-Net"))


def test_numbers_beside_the_page_are_those_of_the_comparison(compared, tmp_path) -> None:
    files = pages_in(tmp_path)
    write_pages(files, compared)
    data = json.loads(files.data.read_text())
    with files.table.open(newline="") as stream:
        table = list(csv.reader(stream))
    assert len(table) - 1 == len(data["rows"]) == len(compared.rows)
    assert [float(row[-1]) for row in table[1:]] == [row.value for row in compared.rows]
    assert data["failures"] == compared.failures
    assert data["settings"]["attack"]["steps"] == 2
    page = files.page.read_text()
    # Nothing is fetched from anywhere.
    assert not re.search(r"(src|href)\s*=\s*['\"]?(https?:)?//", page)
    assert "layer 3 does not fit" in page
    assert "Simulated from T1 images" in page


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_page_opens_in_a_browser(compared, tmp_path) -> None:
    files = pages_in(tmp_path)
    write_pages(files, compared)
    # The slider's images are put in by the page's script: an error there leaves them out.
    dumped = subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            files.page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert re.search(r'<img id="b"[^>]*src="data:image/png;base64,', dumped)
    assert dumped.count("<option") >= 2 * 4
    picture = tmp_path / "page.png"
    subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1200,1600",
            f"--screenshot={picture}",
            files.page.as_uri(),
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )
    from matplotlib.image import imread

    shown = imread(picture)
    assert shown.shape[:2] == (1600, 1200)
    # Text and a coloured figure are there, not a blank page.
    assert 0.02 < float((shown[..., :3].min(-1) < 0.5).mean()) < 0.5
    assert float((np.ptp(shown[..., :3], axis=-1) > 0.2).mean()) > 1e-3


def test_scans_without_a_reference_are_attacked_all_the_same(tmp_path) -> None:
    image = images("test")[2]
    under = simulate(image[None] + 0j, coils=4, acceleration=4, calibration=12, name="mine")
    data = from_scans([under], 1, 1)
    comparison = compare([zero_filling(), *methods()[4:5]], TINY, tmp_path / "k", data=data)
    metrics = {row.metric for row in comparison.rows}
    assert "psnr_db" not in metrics
    assert {"amplification", "height"} <= metrics
    files = pages_in(tmp_path / "report")
    write_pages(files, comparison)
    assert "without a reference" in files.page.read_text()


def test_the_command_refuses_before_the_long_work(firenet, capsys, tmp_path) -> None:
    report = ("--report", str(tmp_path / "report"))
    assert firenet("benchmark", "stability", "--network", "nowhere.py:f", *report) != 0
    assert "nowhere.py: no such file" in capsys.readouterr().err
    assert firenet("benchmark", "stability", "--weights", "w.pt", *report) != 0
    assert "give pairs" in capsys.readouterr().err
    assert firenet("benchmark", "stability", "--data", str(tmp_path), *report) != 0
    assert "holds no Cartesian scan" in capsys.readouterr().err
    assert firenet("benchmark", "train", "--network", "GAN", "-o", str(tmp_path)) != 0
    assert "No network 'GAN'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_smoke_setting_runs_whole(firenet, capsys, tmp_path) -> None:
    assert firenet("benchmark", "stability", "--smoke", "--report", str(tmp_path)) == 0
    assert "Report:" in capsys.readouterr().out
    assert (tmp_path / "stability.html").stat().st_size > 1e5
