"""Pictures show what they say: the same window, the right slice, the patient's sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from firenet_mri.errors import ShapeError
from firenet_mri.io import Panel, write_picture
from firenet_mri.io.image.display import displayed
from firenet_mri.io.image.over_time import liveliest_line
from firenet_mri.scan import Geometry

RIGHT, LEFT = (-1.0, 0.0, 0.0), (1.0, 0.0, 0.0)
ANTERIOR, POSTERIOR = (0.0, -1.0, 0.0), (0.0, 1.0, 0.0)
UP, DOWN = (0.0, 0.0, 1.0), (0.0, 0.0, -1.0)


def geometry(
    read: tuple[float, float, float],
    phase: tuple[float, float, float],
    normal: tuple[float, float, float],
) -> Geometry:
    """Return a geometry of a 4 x 6 plane with voxels of 3 mm (phase) and 1 mm (read)."""
    return Geometry((5.0, 12.0, 6.0), ((0.0, 0.0, 0.0),), read, phase, normal)


@pytest.mark.parametrize(
    ("read", "phase", "normal", "letters", "corner"),
    [
        (LEFT, POSTERIOR, UP, "RLAP", (0, 0)),
        (RIGHT, POSTERIOR, UP, "RLAP", (0, -1)),
        (LEFT, ANTERIOR, DOWN, "RLAP", (-1, 0)),
        (POSTERIOR, RIGHT, UP, "RLAP", (0, -1)),
        (ANTERIOR, LEFT, UP, "RLAP", (-1, 0)),
        (LEFT, UP, POSTERIOR, "RLSI", (-1, 0)),
        (DOWN, RIGHT, POSTERIOR, "RLSI", (0, -1)),
        (POSTERIOR, DOWN, LEFT, "APSI", (0, 0)),
        (UP, ANTERIOR, LEFT, "APSI", (-1, -1)),
    ],
)
def test_image_is_turned_as_radiologists_look_at_it(
    read: tuple[float, float, float],
    phase: tuple[float, float, float],
    normal: tuple[float, float, float],
    letters: str,
    corner: tuple[int, int],
) -> None:
    image = np.zeros((4, 6))
    image[0, 0] = 1
    view = displayed(image, geometry(read, phase, normal))
    expected = {"RLSI": ("R", "L", "S", "I")}.get(letters, tuple(letters))
    assert view.letters == expected
    assert view.slices[0][corner] == 1
    across = np.array(LEFT if letters[:2] == "RL" else POSTERIOR)
    turned = abs(np.array(read) @ across) < 0.5
    assert view.shape == ((6, 4) if turned else (4, 6))
    assert view.pixel_aspect == pytest.approx(1 / 3 if turned else 3)
    assert view.height_over_width == pytest.approx(0.5 if turned else 2)


def test_without_geometry_rows_go_down_as_stored() -> None:
    image = torch.arange(24.0).reshape(4, 6)
    view = displayed(image, None)
    np.testing.assert_array_equal(view.slices[0], image)
    assert view.letters is None


@pytest.mark.parametrize(
    ("count", "grid"),
    [(1, (1, 1)), (2, (1, 2)), (3, (1, 3)), (7, (2, 4)), (12, (3, 4)), (13, (3, 5))],
)
def test_a_montage_holds_the_magnitude_of_all_slices_in_their_order(count, grid) -> None:
    image = torch.arange(1, count + 1)[:, None, None] * torch.full((count, 6, 6), 0.6 + 0.8j)
    shown = displayed(image.reshape(1, count, 6, 6), None)
    montage = shown.montage()
    assert shown.grid() == grid
    tiles = montage.reshape(grid[0], 6, grid[1], 6).swapaxes(1, 2).reshape(-1, 6, 6)
    for number, tile in enumerate(tiles, start=1):
        if number <= count:
            np.testing.assert_allclose(tile, number, rtol=1e-6)
        else:
            assert np.isnan(tile).all()


def test_shrinking_takes_means_also_at_the_edges() -> None:
    image = torch.arange(35.0).reshape(5, 7)
    small = displayed(image, None).shrunk(3).slices[0]
    expected = [[image[i : i + 3, j : j + 3].mean() for j in (0, 3, 6)] for i in (0, 3)]
    np.testing.assert_allclose(small, expected)


def test_every_slice_is_in_the_picture_with_one_window(tmp_path: Path) -> None:
    """Four slices of rising brightness, the last one white: each a quarter of its panel."""
    image = torch.tensor([0.25, 0.5, 0.75, 1.0])[:, None, None].expand(4, 40, 40)
    write_picture(tmp_path / "picture.png", [Panel("a", image)])
    pixels = imread(tmp_path / "picture.png")[..., 0]
    counts = [(abs(pixels - level) < 1 / 128).sum() for level in (0.25, 0.5, 0.75, 1.0)]
    # A slice's number hides a little of it.
    assert min(counts) > 0.9 * max(counts) > 10_000


def test_slices_have_their_names_in_every_panel(tmp_path: Path, monkeypatch) -> None:
    from matplotlib.axes import Axes

    written = []
    draw = Axes.text

    def record(self: Axes, x: float, y: float, text: str, **options: object) -> object:
        written.append(text)
        return draw(self, x, y, text, **options)

    monkeypatch.setattr(Axes, "text", record)
    panels = [Panel("a", torch.ones(2, 8, 9)), Panel("b", torch.ones(2, 8, 9))]
    write_picture(tmp_path / "a.png", panels, names=["4", "7"])
    write_picture(tmp_path / "b.png", panels)
    write_picture(tmp_path / "c.png", [Panel("a", torch.ones(8, 9))], names=["4"])
    assert written == ["4", "7", "4", "7", "0", "1", "0", "1"]


def test_panels_share_the_window_of_the_last(tmp_path: Path) -> None:
    """Twice as bright is white, half as bright is grey; without frames the panels fill the rest."""
    base = torch.ones(40, 40)
    panels = [Panel("half", 0.5 * base), Panel("same", base)]
    write_picture(tmp_path / "picture.png", panels)
    pixels = imread(tmp_path / "picture.png")[..., 0]
    height, width = pixels.shape
    assert pixels[height // 2, width // 4] == pytest.approx(0.5, abs=0.01)
    assert pixels[height // 2, 3 * width // 4] == 1


def test_error_of_the_reference_itself_is_black(tmp_path: Path) -> None:
    base = torch.ones(40, 40)
    panels = [Panel("wrong", 0.9 * base), Panel("right", base, "PSNR 99 dB")]
    write_picture(tmp_path / "picture.png", panels, reference=Panel("Reference", base), caption="x")
    pixels = imread(tmp_path / "picture.png")
    height, width = pixels.shape[:2]
    wrong, right = (pixels[3 * height // 4, column * width // 6, :3] for column in (1, 3))
    assert right.max() < 0.05
    assert wrong.max() > 0.5


def test_all_zero_image_can_be_drawn(tmp_path: Path) -> None:
    write_picture(tmp_path / "picture.png", [Panel("nothing", torch.zeros(1, 8, 9))])
    assert imread(tmp_path / "picture.png").shape[2] == 4


def test_images_of_different_shapes_are_refused(tmp_path: Path) -> None:
    panels = [Panel("a", torch.ones(4, 5)), Panel("b", torch.ones(5, 4))]
    with pytest.raises(ShapeError, match=r"\(4, 5\), \(5, 4\)"):
        write_picture(tmp_path / "picture.png", panels)
    with pytest.raises(ShapeError, match=r"shape \(7,\)"):
        write_picture(tmp_path / "picture.png", [Panel("a", torch.ones(7))])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a$b$_{c", "\\frac{$", "caf\udce9", "x\x07y", "\u8111$"])
def test_a_name_of_any_characters_is_drawn_as_it_is(name: str, tmp_path: Path, caplog) -> None:
    panels = [Panel(name, torch.ones(8, 8))]
    write_picture(tmp_path / "picture.png", panels, caption=f"{name} (scan)")
    assert imread(tmp_path / "picture.png").shape[0] > 100
    assert caplog.text == ""


def test_a_picture_that_cannot_be_drawn_shows_the_images_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fails)
    base = torch.rand(6, 9)
    write_picture(tmp_path / "a.png", [Panel("half", base / 2), Panel("whole", base)])
    pixels = imread(tmp_path / "a.png")
    white = np.percentile(base, 99.8)
    expected = np.clip(np.hstack([base / 2, base]) / white, 0, 1)
    np.testing.assert_allclose(pixels, expected, atol=1 / 254)
    assert "could not be drawn (RuntimeError)" in caplog.text


def test_a_full_disk_is_told_and_not_drawn_over(tmp_path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    with pytest.raises(OSError, match="No space"):
        write_picture(tmp_path / "a.png", [Panel("a", torch.ones(6, 9))])
    assert not list(tmp_path.iterdir())


def test_the_line_in_which_most_changes_is_shown_over_time() -> None:
    still = np.ones((10, 4, 6))
    still[5:, 2, 3] = 4
    # Brighter, but always.
    still[:, :, 1] = 9
    display = displayed(still, None)
    # Of another film nothing changes.
    line = liveliest_line(display, [1, 3, 5, 7, 9])
    assert line.column == 3
    np.testing.assert_array_equal(line.of(display)[2], [1, 1, 4, 4, 4])
    np.testing.assert_array_equal(line.of(display)[1], [1] * 5)


def test_a_film_has_its_line_below_every_panel(tmp_path: Path, monkeypatch) -> None:
    from matplotlib.axes import Axes

    strips = []
    draw = Axes.imshow

    def imshow(axes: Axes, pixels: np.ndarray, **options: object) -> object:
        if options["aspect"] == "auto":
            strips.append((np.asarray(pixels), options["vmax"]))
        return draw(axes, pixels, **options)

    monkeypatch.setattr(Axes, "imshow", imshow)
    image = np.random.default_rng(0).random((6, 1, 9, 7))
    panels = [Panel("Zero-filled", image / 2), Panel("FIRENET", image)]
    write_picture(tmp_path / "film.png", panels, film=range(6))
    (before, white), (after, same) = strips
    assert white == same
    assert after.shape == (9, 6)
    np.testing.assert_allclose(before, after / 2)
    # Three frames are no film, and slices have no time.
    write_picture(tmp_path / "three.png", panels, film=range(3))
    write_picture(tmp_path / "none.png", panels)
    assert len(strips) == 2
