# SPDX-License-Identifier: Apache-2.0
"""The C library, opened through the declarations of its own header, so that nothing is written down twice."""

from __future__ import annotations

import ctypes.util
import operator
import os
import re
import threading
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, Optional, Sequence

import cffi

_HERE = Path(__file__).resolve().parent
_CHECKOUT = _HERE.parent.parent


class Error(Exception):
    """A call that the library could not do. `field` names the option at fault, where one is."""

    def __init__(self, message: str, field: str = ""):
        super().__init__(message)
        self.field = field


class BadArgument(Error, ValueError):
    """What was asked for has no meaning: a head outside the model, an option out of range."""


class FileError(Error, OSError):
    """The system refused a file: not there, no permission, a full disk."""


class OutOfMemory(Error, MemoryError):
    """An allocation failed."""


class NotSupported(Error, NotImplementedError):
    """Of a kind that the library does not know, or this machine cannot do."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C. `result` holds what was finished, or is None where nothing was; a file at `path` keeps it too."""

    def __init__(self, result: Any = None):
        super().__init__("interrupted; what was finished is kept")
        self.result = result


def _declarations() -> str:
    for path in (_HERE / "sahara.h", _CHECKOUT / "include" / "sahara.h"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            break
    else:
        raise ImportError("sahara.h is missing: install the package with pip from a checkout of Sahara")
    text = re.sub(r"#ifdef __cplusplus.*?#endif", "", text, flags=re.S)
    return re.sub(r"^#.*$", "", text, flags=re.M)


def _open(ffi: cffi.FFI) -> Any:
    named = os.environ.get("SAHARA_LIBRARY")
    places = [named] if named else [
        str(_HERE / "libsahara.so"), str(_CHECKOUT / "build" / "libsahara.so"), ctypes.util.find_library("sahara"), "libsahara.so.0",
    ]
    said = []
    for place in places:
        if not place or (os.sep in place and not named and not os.path.exists(place)):
            continue
        try:
            return ffi.dlopen(place)
        except OSError as error:
            said.append(str(error))
    raise ImportError("libsahara.so is not found (%s): build it with `make lib`, or name it in SAHARA_LIBRARY" % ("; ".join(said) or "looked beside the package and in the system"))


ffi = cffi.FFI()
ffi.cdef(_declarations())
lib = _open(ffi)


def string(pointer: Any) -> str:
    """A C string as str; bytes that are not UTF-8 become U+FFFD."""
    return ffi.string(pointer).decode("utf-8", "replace")


VERSION: str = string(lib.sah_version())


def raise_error(error: Any, result: Any = None) -> None:
    """Raises the exception that belongs to a sah_error."""
    message, field = string(error.message), string(error.field)
    kinds = {
        lib.SAH_BAD_ARGUMENT: BadArgument, lib.SAH_IO_ERROR: FileError, lib.SAH_OUT_OF_MEMORY: OutOfMemory,
        lib.SAH_NOT_SUPPORTED: NotSupported,
    }
    if error.status == lib.SAH_INTERRUPTED:
        raise Interrupted(result)
    raise kinds.get(error.status, Error)(message, field)


def call(function: Callable[..., int], *arguments: Any) -> None:
    """A short call: function(*arguments, error), and an exception when it fails."""
    error = ffi.new("sah_error *")
    if function(*arguments, error) != lib.SAH_OK:
        raise_error(error)


def take_text(pointer: Any) -> str:
    """A string for free() as str, freed."""
    try:
        return string(pointer)
    finally:
        _free(pointer)


_libc = cffi.FFI()
_libc.cdef("void free(void *);")
_libc_lib = _libc.dlopen(None)


def _free(pointer: Any) -> None:
    _libc_lib.free(_libc.cast("void *", int(ffi.cast("uintptr_t", pointer))))


free = _free


class Texts:
    """A sah_strings over Python strings, which lives as long as this. Sequences of token ids become texts for the template "tokens"; `ids` says whether
    they all were that (None: there are none)."""

    def __init__(self, texts: "Iterable[str | Sequence[int]]"):
        if isinstance(texts, (str, bytes)):
            raise TypeError("expected a list of strings, not one string")
        if isinstance(texts, Mapping) or hasattr(texts, "columns"):  # which would give their keys
            raise TypeError("expected a list of strings; of a table give one column")
        texts = list(texts)
        for i, text in enumerate(texts):
            if isinstance(text, bytes) or not hasattr(text, "__iter__"):
                raise TypeError("text %d is %s, neither a string nor token ids" % (i, type(text).__name__))
        kinds = {not isinstance(text, str) for text in texts}
        if len(kinds) > 1:
            raise BadArgument("texts and token ids do not go together in one list")
        self.ids: Optional[bool] = kinds.pop() if kinds else None
        if self.ids:
            texts = [" ".join(str(operator.index(i)) for i in ids) for ids in texts]
        self._take(texts)

    @classmethod
    def like(cls, other: "Texts", texts: "list[str]") -> "Texts":
        """Texts that were made as those of `other` were: token ids as text, or texts."""
        out = cls.__new__(cls)
        out.ids = other.ids
        out._take(texts)
        return out

    @classmethod
    def joined(cls, first: "Texts", second: "Texts") -> "Texts":
        return cls.like(first, first.texts + second.texts)

    def _take(self, texts: "list[str]") -> None:
        self.texts = texts
        encoded = [text.encode("utf-8") for text in texts]
        for i, text in enumerate(encoded):
            if b"\0" in text:
                raise BadArgument("text %d holds a NUL" % i)
        self._kept = [ffi.new("char[]", text) for text in encoded]
        self._items = ffi.new("char *[]", self._kept) if encoded else ffi.NULL
        self.struct = ffi.new("sah_strings *", {"items": self._items, "n": len(encoded), "capacity": len(encoded)})


def template_of(template: Optional[str], *lists: "Optional[Texts]") -> Optional[str]:
    """The template, which for token ids is "tokens" alone."""
    kinds = {texts.ids for texts in lists if texts is not None and texts.ids is not None}
    if True not in kinds:
        return template
    if False in kinds or template not in (None, "tokens"):
        raise BadArgument("prompts of token ids are taken as they are: no template, and no texts beside them")
    return "tokens"


class Keep:
    """C values of Python's, kept while a call runs."""

    def __init__(self) -> None:
        self._kept: list[Any] = []

    def text(self, value: Optional[str]) -> Any:
        if value is None:
            return ffi.NULL
        if "\0" in value:
            raise BadArgument("a text holds a NUL")
        return self.keep(ffi.new("char[]", os.fsencode(value) if isinstance(value, os.PathLike) else value.encode("utf-8")))

    def path(self, value: "str | os.PathLike[str] | None") -> Any:
        return ffi.NULL if value is None else self.keep(ffi.new("char[]", os.fsencode(value)))

    def keep(self, value: Any) -> Any:
        self._kept.append(value)
        return value


Progress = Callable[[str, int, int], Optional[bool]]
"""Called as progress(what, done, total), now and then; returning False stops the run."""


class _Bars:
    """Progress by tqdm."""

    def __init__(self) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError("progress=True needs tqdm: pip install tqdm, or give a function") from error
        self._make, self._bar, self._what = tqdm, None, ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._bar is None or what != self._what:
            self.close()
            self._bar, self._what = self._make(total=total, desc=what, initial=done), what
        self._bar.n = done
        self._bar.refresh()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Run:
    """A long call, in a thread of its own: the caller's waits, so that Ctrl-C is heard, which stops the call where the
    library next asks for it."""

    def __init__(self, progress: "bool | Progress | None"):
        self._stop = threading.Event()
        self._raised: Optional[BaseException] = None
        self._bars = _Bars() if progress is True else None
        self._progress = self._bars or (progress if callable(progress) else None)
        self.lines: list[str] = []
        self.progress_fn = ffi.callback("bool(void *, const char *, uint64_t, uint64_t)", self._on_progress, error=False)
        self.line_fn = ffi.callback("bool(void *, const char *, size_t)", self._on_line, error=False)

    def _on_progress(self, _user: Any, what: Any, done: int, total: int) -> bool:
        if self._stop.is_set():
            return False
        if self._progress is not None:
            try:
                if self._progress(string(what), done, total) is False:
                    return False
            except BaseException as error:  # handed on by the caller's thread
                self._raised = error
                return False
        return True

    def _on_line(self, _user: Any, line: Any, length: int) -> bool:
        self.lines.append(ffi.buffer(line, length)[:].decode("utf-8", "replace"))
        return not self._stop.is_set()

    def __call__(self, function: Callable[..., int], *arguments: Any, result: Optional[Callable[[], Any]] = None) -> None:
        """Runs function(*arguments, error). `result` makes what an interrupted run hands out."""
        error = ffi.new("sah_error *")
        status: list[int] = []
        done = threading.Event()  # joining a thread is not safe against Ctrl-C before Python 3.13

        def work() -> None:
            status.append(function(*arguments, error))
            done.set()

        threading.Thread(target=work, daemon=True).start()
        try:
            while not done.is_set():
                try:
                    done.wait(0.1)
                except KeyboardInterrupt:
                    if self._stop.is_set():
                        raise
                    self._stop.set()
        finally:
            if not done.is_set():  # asked a second time: leave nothing that the thread still uses
                _abandoned.append((self, arguments, error))
            if self._bars is not None:
                self._bars.close()
        if self._raised is not None:
            raise self._raised
        if status[0] == lib.SAH_OK:
            return
        kept = None
        if error.status == lib.SAH_INTERRUPTED and result is not None and len(self.lines) > 1:
            kept = result()
        raise_error(error, kept)


_abandoned: list[Any] = []
