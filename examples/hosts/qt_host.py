"""A sync in a dialog of Qt, drawn off screen: `synctape fuzz --target qt_host:Host`."""

from adapter import Adapter
from PySide6.QtWidgets import QApplication, QProgressDialog
from window_thread import in_window_thread, only


@in_window_thread
class Host(Adapter):
    def __init__(self) -> None:
        self.application = only(QApplication, ["", "-platform", "offscreen"])
        self.dialog = only(QProgressDialog)
        self.dialog.reset()
        self.tell, self.end = self.dialog.setWindowTitle, self.dialog.close

    def show(self, text: str, index: int, index_max: int) -> None:
        self.dialog.setLabelText(text)
        self.dialog.setMaximum(index_max)
        self.dialog.setValue(index)
        self.application.processEvents()
