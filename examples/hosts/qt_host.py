"""A sync in a dialog of Qt, drawn off screen: `synctape fuzz --target qt_host:Host`."""

import os
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
from PySide6.QtWidgets import QApplication, QProgressDialog, QWidget
from window_thread import in_window_thread

APPLICATION = in_window_thread(QApplication)([])
WINDOW = in_window_thread(QWidget)()


class Host:
    @in_window_thread
    def __init__(self) -> None:
        self.dialog = QProgressDialog(WINDOW)
        self.dialog.setMinimumDuration(0)

    @in_window_thread
    def Progress(self, text: str | None, index: int, index_max: int) -> None:
        self.dialog.setLabelText(text or "")
        self.dialog.setMaximum(index_max)
        self.dialog.setValue(index)
        APPLICATION.processEvents()

    @in_window_thread
    def Error(self, result: int, text: str | None) -> None:
        self.dialog.setWindowTitle(text or f"{result & 0xFFFFFFFF:#010x}")
        APPLICATION.processEvents()

    @in_window_thread
    def Done(self, event: Any, result: int) -> None:
        self.dialog.close()

    @in_window_thread
    def __del__(self) -> None:
        self.dialog.deleteLater()
