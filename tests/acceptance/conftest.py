"""What stands on libraries that Debian has is no test on Windows, and what needs an extra is none without it."""

import sys
from importlib.util import find_spec

collect_ignore = ["test_seven_zip.py", "test_newt_gauge.py"] if sys.platform == "win32" else []
if find_spec("imapclient") is None:
    collect_ignore.append("test_imap_provider.py")  # .ci/run has a leg for it, where no test is a failure
if not all(map(find_spec, ("imapclient", "pycurl", "pygit2"))):
    collect_ignore.append("test_engines.py")
