"""Modules that have moved, for one release: the former name still works, and says where the new one is."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module


def warn_moved(module: str, new: str) -> None:
    """Warn whoever imports a module by its former name, and have the name mean the new module from now on.

    So a class of either name is one and the same, whichever name a stored run or somebody's file has for it.

    :param module: the former name, of the module that calls this.
    :param new: the name that it has now.
    """
    # This function, the module, and four frames of the import system, which warnings leave out by themselves.
    warnings.warn(
        f"{module} has become {new}; the former name goes with the next release", DeprecationWarning, stacklevel=3
    )
    sys.modules[module] = import_module(new)
