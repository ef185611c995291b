"""A sync on a bar of progressbar2: `synctape fuzz --target progressbar2_host:Host`."""

import progressbar
from adapter import Adapter
from terminal import screen


class Host(Adapter):
    def __init__(self) -> None:
        widgets = [progressbar.Variable("text"), progressbar.Percentage(), progressbar.Bar()]
        options = {"widgets": widgets, "variables": {"text": ""}, "max_error": False}
        self.bar = progressbar.ProgressBar(max_value=1, fd=screen(), **options).start()
        self.end = self.bar.finish

    def show(self, text: str, index: int, index_max: int) -> None:
        self.bar.max_value = index_max
        self.bar.update(index, text=text, force=True)

    def tell(self, text: str) -> None:
        self.bar.update(text=text, force=True)
