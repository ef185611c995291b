"""The optional compiled core; everything else is in pyproject.toml.

Both extensions keep to the limited API of Python 3.11, so one wheel serves every later version.  Where there is no
compiler, or the core does not fit (32 bits, a free-threaded build), the package installs without it and works
through ctypes; `synctape doctor` says which of the two is in use.
"""

import glob
import os
import struct
import sys
import sysconfig

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

LIMITED_API = "0x030B0000"
SOURCES = {
    "recorder._native.core": [f"recorder/_native/{name}.c" for name in ("module", "synctape_record", "tally")],
    "replayer._native.core": [
        f"replayer/_native/{name}.c"
        for name in ("module", "player", "screen", "texts", "pages", "fault", "steps", "threads")
    ],
    "fuzz._native.core": [f"fuzz/_native/{name}.c" for name in ("module", "variants")],
}
if sys.platform == "linux":
    SOURCES["replayer._native.cover"] = ["replayer/_native/cover.c"]  # no module: a library that targets see


class BuildCore(build_ext):
    """Flags by compiler; a core that cannot be compiled is left out with one line."""

    posix_flags = ("-std=c99", "-O3", "-fvisibility=hidden", "-fexceptions")

    def build_extensions(self):
        msvc = self.compiler.compiler_type == "msvc"
        for extension in self.extensions:
            extension.extra_compile_args = ["/O2"] if msvc else [*self.posix_flags]
        super().build_extensions()


def core_fits():
    return (
        struct.calcsize("P") == 8
        and not sysconfig.get_config_var("Py_GIL_DISABLED")
        and os.environ.get("SYNCTAPE_BUILD_CORE", "1") != "0"
    )


extensions = [
    Extension(
        name,
        sources,
        depends=sorted(glob.glob("*/_native/*.h")),
        define_macros=[("Py_LIMITED_API", LIMITED_API)],
        py_limited_api=True,
        optional=True,
    )
    for name, sources in SOURCES.items()
    if core_fits()
]

setup(
    ext_modules=extensions,
    cmdclass={"build_ext": BuildCore},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if extensions else {},
)
