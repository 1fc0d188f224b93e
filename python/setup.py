# SPDX-License-Identifier: Apache-2.0
"""Puts the C library's header, and the library itself where `make lib` has built it, into the package. A wheel that holds
the library is for this platform alone."""
import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

HERE = pathlib.Path(__file__).resolve().parent
HEADER = HERE.parent / "include" / "sahara.h"
LIBRARY = HERE.parent / "build" / "libsahara.so"


class Build(build_py):
    def run(self):
        super().run()
        package = pathlib.Path(self.build_lib) / "sahara"
        shutil.copyfile(HEADER, package / "sahara.h")
        shutil.copyfile(HERE / "sahara" / "py.typed", package / "py.typed")
        if LIBRARY.exists():
            shutil.copyfile(LIBRARY, package / "libsahara.so")


class Platform(Distribution):
    def has_ext_modules(self):
        return LIBRARY.exists()


setup(cmdclass={"build_py": Build}, distclass=Platform)
