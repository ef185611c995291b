"""Targets: where a callback implementation comes from.

`package.module:factory` names a class or function without arguments that gives an object with the interface's
methods, or an interface pointer; the current folder is importable.  `path/library.so:symbol` names an exported
`HRESULT symbol(void **ppv)` that gives an interface pointer, `clsid:{...}` a registered class of Windows
(replayer.activation).  Each sequence is played on a fresh instance.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from recorder import com, hresult
from recorder.contract import contract_of
from recorder.errors import SynctapeError
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from recorder.library import is_library
from replayer.activation import Apartment, is_class_spec
from replayer.activation import parse as activate
from replayer.cover import Cover, provide
from replayer.handles import Handles, PythonHandles, native_handles
from replayer.holding import Holding
from replayer.sanitizers import UnplayableError, environment, require_runtime

__all__ = [
    "Instance",
    "NativeTarget",
    "Target",
    "TargetError",
    "environment_for",
    "is_library_spec",
    "is_native_spec",
    "load_target",
    "object_target",
]

_OURS = ("recorder", "replayer", "fuzz")


class TargetError(SynctapeError):
    """A target cannot be loaded, or gives no instance of the interface."""


@dataclass
class Instance:
    """One object under test: its methods by name, its handles, and what it offers beyond the interface.

    `promises` is what the host says of itself: "closes-handle" makes a handle that Done was given and that is
    still open at the end a finding (U2 leaves open who closes it).  `pointer` is a native object's, with the one
    reference that `close` gives back; `live` counts its library's objects, if that keeps a count, and `others` is
    what it said before this one was made.  `holding` counts what the sequence's own calls do to the references.
    `apartment`: what each thread that calls it must be in.  `pump` takes what the object is to call where it would
    pump messages, None to call nothing any more (replayer.occasions).
    """

    methods: dict[str, Callable[..., Any]]
    handles: Handles
    object: Any = None
    invariant: Callable[[], Any] | None = None
    promises: frozenset[str] = frozenset()
    close: Callable[[], None] = lambda: None
    pointer: int = 0
    apartment: Apartment | None = None
    live: Callable[[], int] | None = None
    others: int = 0
    holding: Holding | None = None
    pump: Callable[[Callable[[], None] | None], None] | None = None

    @property
    def native(self) -> bool:
        """Whether calls go through a vtable: what is behind it may be of any language."""
        return self.pointer != 0


class Target(Protocol):
    """Gives fresh instances of one callback implementation."""

    spec: str
    interface: Interface
    native: bool

    def instance(self) -> Instance:
        """A fresh one.  Raises TargetError if the target gives none."""

    def place(self, trace: TracebackType | None) -> str:
        """Where in the target's own code an exception comes from: "file.py:12 in Progress", or ""."""

    def owns(self, filename: str) -> bool:
        """Whether a source file is the target's own code."""


def load_target(spec: str, interface: Interface = IMAPI_SYNC_PROGRESS_CALLBACK) -> Target:
    """The target that a command line names.  Raises TargetError, in one line that says what to mend."""
    if is_class_spec(spec):
        return _class_target(spec, interface)
    location, colon, name = spec.rpartition(":")
    if not colon or not location or not name:
        raise TargetError(f"target {spec!r}: write it as package.module:factory or path/library.so:symbol")
    if location.endswith(".py"):
        module = ".".join(Path(location).with_suffix("").parts)
        raise TargetError(f"target {spec!r}: name the module, not its file: {module}:{name}")
    if is_library_spec(spec):
        return _library_target(spec, interface, location, name)
    return _python_target(spec, interface, location, name)


def is_library_spec(spec: str) -> bool:
    """Whether a target spec names a native library rather than a Python module."""
    return is_library(spec)


def is_native_spec(spec: str) -> bool:
    """Whether a target spec names something other than Python: a library, or a registered class."""
    return is_class_spec(spec) or is_library_spec(spec)


def environment_for(
    spec: str, *, names: bool = True
) -> Callable[[str, Mapping[str, str]], Mapping[str, str]] | None:
    """What a sandbox's `environment` must be for a target to be loaded in its child: None if nothing special.

    What it gives is for a native library built with a sanitizer (replayer.sanitizers.environment, also for
    `names`).  It raises TargetError if the sanitizer's runtime is not here.
    """
    if not is_library_spec(spec):
        return None
    library = Path(spec.rpartition(":")[0]).resolve()

    def added(log: str, base: Mapping[str, str]) -> Mapping[str, str]:
        try:
            return environment(library, log, base, names=names)
        except UnplayableError as error:
            raise TargetError(f"target {spec}: {error}") from None

    return added


def object_target(
    factory: Callable[[], Any], interface: Interface = IMAPI_SYNC_PROGRESS_CALLBACK, spec: str = ""
) -> Target:
    """A target from a factory at hand: a class, or a function without arguments."""
    module = sys.modules.get(getattr(factory, "__module__", ""))
    name = getattr(factory, "__qualname__", type(factory).__qualname__)
    return _PythonTarget(
        spec or f"{getattr(factory, '__module__', '?')}:{name}", interface, factory, _roots(module)
    )


# --- Python ---------------------------------------------------------------------------------------------------


@dataclass
class _PythonTarget:
    spec: str
    interface: Interface
    factory: Callable[[], Any]
    roots: tuple[str, ...]
    native: bool = False
    _names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self._names = tuple(m.name for m in self.interface.calls)

    def instance(self) -> Instance:
        try:
            created = self.factory()
        except Exception as error:
            where = self.place(error.__traceback__)
            raise TargetError(
                f"target {self.spec}: the factory raised {one_line(error)}{f' at {where}' if where else ''}"
            ) from None
        if (address := com.pointer_of(created)) is not None:
            return self._behind(created, address)
        try:
            methods = {name: getattr(created, name) for name in self._names}
        except AttributeError:
            raise self._mismatch(created) from None
        promises = frozenset(getattr(created, "synctape_promises", ()))
        invariant = getattr(created, "invariant", None)
        return Instance(methods, PythonHandles(), created, invariant, promises)

    def _behind(self, created: Any, address: int) -> Instance:
        """The instance behind an interface pointer.  What the factory holds of it is given up."""
        if not address:
            raise TargetError(f"target {self.spec}: the factory gave NULL")
        instance = _through_vtable(self.spec, self.interface, address)
        if isinstance(created, com.ExposedObject):
            created.release()
        elif isinstance(created, com.Pointer):
            created.close()
        elif type(created) is ctypes.c_void_p:
            com.wrap(address, self.interface).Release()
        return instance

    def _mismatch(self, created: object) -> TargetError:
        missing = [name for name in self._names if not hasattr(created, name)]
        return TargetError(
            f"target {self.spec}: {type(created).__name__} has no method "
            f"{', '.join(missing)}; {self.interface.name} needs {', '.join(self._names)}"
        )

    def owns(self, filename: str) -> bool:
        return filename.startswith(self.roots)

    def place(self, trace: TracebackType | None) -> str:
        frames = traceback.StackSummary.extract(traceback.walk_tb(trace), lookup_lines=False)
        own = [f for f in frames if self.owns(f.filename)]
        if len(frames) > 200:  # runaway recursion: which frame was innermost is chance, where it began is not
            own = own[:1]
        if not own:
            own = [f for f in frames if os.path.dirname(f.filename) != os.path.dirname(__file__)]
        if not own:
            return ""
        frame = own[-1]
        return f"{os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}"


def _python_target(spec: str, interface: Interface, module_name: str, name: str) -> Target:
    module = _import(spec, module_name)
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise TargetError(f"target {spec}: {module_name} has no {name!r}") from None
    if not callable(found):
        raise TargetError(f"target {spec}: {name} is a {type(found).__name__}, not a class or function")
    return _PythonTarget(spec, interface, found, _roots(module))


def _import(spec: str, name: str) -> Any:
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise TargetError(f"target {spec}: no module {error.name!r} here or on sys.path") from None
        raise TargetError(f"target {spec}: importing it raised {one_line(error)}") from None
    except (Exception, SystemExit) as error:
        raise TargetError(f"target {spec}: importing it raised {one_line(error)}") from None


def _roots(module: Any) -> tuple[str, ...]:
    """Path prefixes of the target's own code: its module, and the top-level package that it is in."""
    file = getattr(module, "__file__", None)
    if not file:
        return ("\0",)
    top = module.__name__.partition(".")[0]
    package = sys.modules.get(top)
    package_file = getattr(package, "__file__", None)
    if "." in module.__name__ and package_file and top not in _OURS and not _is_library(package_file):
        return (os.path.dirname(package_file) + os.sep,)
    return (file,)


def _is_library(file: str) -> bool:
    return file.startswith((sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")))


def one_line(error: BaseException, limit: int = 300) -> str:
    """An exception as one line: its type and message."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    return text if len(text) <= limit else text[: limit - 1] + "…"


# --- native ---------------------------------------------------------------------------------------------------


class NativeTarget:
    """Gives what a factory `HRESULT create(void **ppv)` gives, a function of ctypes; `entry` is its address.

    `live` counts the factory's objects, `state` is the address of what names an object's state, 0 if there is
    nothing; `pump` takes what its objects call out to.  `cover` counts what is reached of its code.  `explain`
    says what a failure of the factory means.
    """

    native = True

    def __init__(
        self,
        spec: str,
        interface: Interface,
        create: Any,
        *,
        live: Callable[[], int] | None = None,
        state: Any = None,
        pump: Callable[[Callable[[], None] | None], None] | None = None,
        cover: Cover | None = None,
        apartment: Apartment | None = None,
        explain: Callable[[int], str] = lambda answer: f"the factory answered {hresult.describe(answer)}",
    ):
        self.spec = spec
        self.interface = interface
        self.entry: int = ctypes.cast(create, ctypes.c_void_p).value or 0
        self.state: int = ctypes.cast(state, ctypes.c_void_p).value or 0 if state is not None else 0
        self.cover = cover
        self._create = create
        self._live = live
        self._pump = pump
        self._apartment = apartment
        self._explain = explain

    def instance(self) -> Instance:
        others = self._live() if self._live else 0
        address = ctypes.c_void_p()
        result = self._create(ctypes.byref(address))
        if hresult.failed(result):
            raise TargetError(f"target {self.spec}: {self._explain(result)}")
        if not address.value:
            raise TargetError(f"target {self.spec}: the factory gave no object, only {hresult.describe(result)}")
        instance = _through_vtable(self.spec, self.interface, address.value)
        com.wrap(address.value, self.interface).Release()
        instance.live, instance.others, instance.apartment = self._live, others, self._apartment
        instance.pump = self._pump
        return instance

    def owns(self, filename: str) -> bool:
        return False

    def place(self, trace: TracebackType | None) -> str:
        return ""


def _through_vtable(spec: str, interface: Interface, address: int) -> Instance:
    """The instance behind an interface pointer, with a reference of its own."""
    answer, pointer = com.wrap(address, interface).QueryInterface(interface.iid)
    if hresult.failed(answer) or not pointer:
        raise TargetError(
            f"target {spec}: the object does not speak {interface.name} "
            f"(QueryInterface answered {hresult.describe(answer)})"
        )
    wrapped = com.wrap(pointer, interface)
    methods = {m.name: getattr(wrapped, m.name) for m in interface.slots}
    final = contract_of(interface).final  # without one a handle is only lent
    promises = frozenset({"closes-handle"} if final is not None and final.handle is not None else ())
    holding = Holding(pointer)
    return Instance(
        methods,
        native_handles(),
        wrapped,
        promises=promises,
        close=holding.release,
        pointer=pointer,
        holding=holding,
    )


def _library_target(spec: str, interface: Interface, path: str, symbol: str) -> Target:
    file = Path(path).resolve()
    if not file.is_file():
        raise TargetError(f"target {spec}: no file {path}")
    try:
        require_runtime(file)
        cover = provide(file)
        library = ctypes.CDLL(str(file))
    except UnplayableError as error:
        raise TargetError(f"target {spec}: {error}") from None
    except OSError as error:
        why = " (-fsanitize-coverage needs the compiled core)" if "__sanitizer_cov_" in str(error) else ""
        raise TargetError(f"target {spec}: cannot be loaded: {error}{why}") from None
    try:
        create = getattr(library, symbol)
    except AttributeError:
        raise TargetError(f"target {spec}: {file.name} exports no {symbol!r}") from None
    create.restype = ctypes.c_int32
    create.argtypes = (ctypes.POINTER(ctypes.c_void_p),)
    live = getattr(library, f"{symbol}_live", None)
    if live is not None:
        live.restype = ctypes.c_uint32
    state = getattr(library, f"{symbol}_state", None)
    pump = getattr(library, f"{symbol}_pump", None)
    return NativeTarget(
        spec,
        interface,
        create,
        live=live,
        state=state,
        pump=_Pump(pump) if pump is not None else None,
        cover=cover,
    )


_CALL_OUT = ctypes.CFUNCTYPE(None)


class _Pump:
    """A library's function that takes what its objects are to call where they would pump messages."""

    def __init__(self, function: Any):
        self._function = function
        function.restype = None
        function.argtypes = (_CALL_OUT,)
        self._kept: Any = None  # what the library has must not go

    def __call__(self, called_out: Callable[[], None] | None) -> None:
        kept = _CALL_OUT(called_out) if called_out is not None else _CALL_OUT()
        self._function(kept)
        self._kept = kept


def _class_target(spec: str, interface: Interface) -> Target:
    try:
        activation = activate(spec)
    except ValueError as error:
        raise TargetError(f"target {spec}: {error}") from None
    create = activation.factory(interface)
    explain = functools.partial(activation.explain, interface=interface)
    return NativeTarget(spec, interface, create, apartment=activation.apartment, explain=explain)
