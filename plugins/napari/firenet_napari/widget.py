"""The widget: chooses preset and maps, reconstructs with a progress bar, shows the certificate."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, get_args

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from firenet_napari.reader import SCAN, layer_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from firenet_mri import RawScan, Reconstruction

_ENDINGS = "Images (*.nii.gz *.nii *.dcm *.h5)"


class Stopped(Exception):
    """The user has stopped the reconstruction."""


class _Signals(QObject):
    """Signals from the working thread to the window."""

    progressed = Signal(int, int)
    done = Signal(object)
    failed = Signal(str)


class ReconstructWidget(QWidget):
    """Reconstructs the scan of a layer that the reader opened.

    Parameters
    ----------
    napari_viewer
        The viewer, to which the images are added.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.result: Reconstruction | None = None
        self.thread: threading.Thread | None = None
        self.stopping = threading.Event()
        self.signals = _Signals()
        self._make_fields()
        self._lay_out()
        self.signals.progressed.connect(self._show_progress)
        self.signals.done.connect(self._show)
        self.signals.failed.connect(self._show_failure)
        for event in (self.viewer.layers.events.inserted, self.viewer.layers.events.removed):
            event.connect(self._list_scans)
        self._list_scans()

    def _make_fields(self) -> None:
        from firenet_mri import NetworkOptions, ReconstructionOptions
        from firenet_mri.calibration.methods import MapMethod
        from firenet_mri.firenet.options import Preset

        self.scans, self.presets, self.maps = QComboBox(), QComboBox(), QComboBox()
        self.presets.addItems(get_args(Preset))
        self.presets.setCurrentText(NetworkOptions().preset)
        self.maps.addItems(get_args(MapMethod))
        self.maps.setCurrentText(str(ReconstructionOptions().maps))
        self.sensitive = QCheckBox("Show where small changes matter most (slow)")
        self.start, self.stop = QPushButton("Reconstruct"), QPushButton("Stop")
        self.save = QPushButton("Save image, certificate and report...")
        self.bar, self.status = QProgressBar(), QLabel()
        self.certificate = QPlainTextEdit()
        self.certificate.setReadOnly(True)
        self.status.setWordWrap(True)
        self.stop.setEnabled(False)
        self.save.setEnabled(False)
        self.start.clicked.connect(self.reconstruct)
        self.stop.clicked.connect(self.stopping.set)
        self.save.clicked.connect(self._ask_and_save)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("Scan", self.scans)
        form.addRow("Preset", self.presets)
        form.addRow("Sensitivity maps", self.maps)
        form.addRow(self.sensitive)
        buttons = QHBoxLayout()
        buttons.addWidget(self.start)
        buttons.addWidget(self.stop)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addLayout(buttons)
        layout.addWidget(self.bar)
        layout.addWidget(self.status)
        layout.addWidget(QLabel("What the certificate says"))
        layout.addWidget(self.certificate)
        layout.addWidget(self.save)

    def _list_scans(self, *_: object) -> None:
        """List the layers that contain a scan."""
        chosen = self.scans.currentText()
        names = [layer.name for layer in self.viewer.layers if SCAN in layer.metadata]
        self.scans.clear()
        self.scans.addItems(names)
        if chosen in names:
            self.scans.setCurrentText(chosen)
        self.start.setEnabled(bool(names) and self.thread is None)
        if not names:
            self.status.setText("Open a raw scan first, with File > Open.")
        elif self.result is None:
            self.status.setText("")

    def reconstruct(self) -> None:
        """Reconstruct the chosen scan in a separate thread."""
        scan: RawScan = self.viewer.layers[self.scans.currentText()].metadata[SCAN]
        options: dict[str, Any] = {
            "preset": self.presets.currentText(),
            "maps": self.maps.currentText(),
            "jacobian": self.sensitive.isChecked(),
        }
        self.stopping.clear()
        self.start.setEnabled(False)
        self.save.setEnabled(False)
        self.stop.setEnabled(True)
        self.status.setText(f"Reconstructing {scan.name} ...")
        self.thread = threading.Thread(target=self._work, args=(scan, options), daemon=True)
        self.thread.start()

    def _work(self, scan: RawScan, options: dict[str, Any]) -> None:
        """Reconstruct, and report to the window; this thread uses nothing of Qt except signals."""
        from firenet_mri import FirenetError, reconstruct

        try:
            self.signals.done.emit(reconstruct(scan, on_layer=self._on_layer, **options))
        except Stopped:
            self.signals.failed.emit("Stopped.")
        except (FirenetError, MemoryError) as error:
            self.signals.failed.emit(str(error) or "There is not enough memory for this scan.")

    def _on_layer(self, done: int, total: int) -> None:
        if self.stopping.is_set():
            raise Stopped
        self.signals.progressed.emit(done, total)

    def _show_progress(self, done: int, total: int) -> None:
        self.bar.setMaximum(total)
        self.bar.setValue(done)

    def _end(self) -> None:
        self.thread = None
        self.start.setEnabled(True)
        self.stop.setEnabled(False)

    def _show_failure(self, text: str) -> None:
        self._end()
        self.bar.reset()
        self.status.setText(text)

    def _show(self, result: Reconstruction) -> None:
        """Add the images as layers, and show what the certificate says about them."""
        self._end()
        self.result = result
        name, place = result.scan.name, result.scan.geometry
        shown = [layer_of(result.magnitude.numpy(), f"{name}, {result.network.method}", place)]
        if result.sensitive is not None:
            image = result.combined(result.sensitive).numpy()
            title = f"{name}, where small changes matter most"
            shown.append(layer_of(image, title, place, colormap="inferno"))
        for image, known, _ in shown:
            self.viewer.add_image(image, **known)
        self.certificate.setPlainText(_words(result))
        self.save.setEnabled(True)
        count = len(result.warning_lines)
        said = "1 warning" if count == 1 else f"{count} warnings"
        self.status.setText(f"Done, with {said}; see below." if count else "Done.")

    def _ask_and_save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save the image", "image.nii.gz", _ENDINGS)
        if path:
            self.save_to(path)

    def save_to(self, path: str) -> None:
        """Write image, picture, certificate, evidence and report; show the path or the error."""
        from firenet_mri import FirenetError
        from firenet_mri.report import report_path, write_report

        if self.result is None:
            return
        try:
            # The dialog has already asked whether a file may be replaced.
            files = self.result.save(path, overwrite=True)
            write_report(report_path(files.image), self.result, overwrite=True)
        except FirenetError as error:
            self.status.setText(str(error))
            return
        self.status.setText(f"Saved {files.image}, with its certificate and report beside it.")


def _words(result: Reconstruction) -> str:
    """Return the certificate in plain words: warnings first, then questions and answers."""
    from firenet_mri.report.answers import answers, kept_fixed

    parts = [*result.warning_lines]
    parts += [f"{one.question}\n{one.text}" for one in answers(result.certificate)]
    fixed = kept_fixed(result.certificate)
    if fixed:
        parts.append("What was kept fixed?\n" + ", ".join(fixed) + ".")
    return "\n\n".join(parts)
