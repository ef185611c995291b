"""What stands on libraries that Debian has is no test on Windows."""

import sys

collect_ignore = ["test_seven_zip.py", "test_newt_gauge.py"] if sys.platform == "win32" else []
