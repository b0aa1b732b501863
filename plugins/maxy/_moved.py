"""Names that have moved, for one release: the former name still works, and says where the new one is."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module


def warn_renamed(name: str, new: str, *, stacklevel: int) -> None:
    """Warn of a former name.

    :param stacklevel: as of ``warnings.warn``, counted from the caller.
    """
    warnings.warn(
        f"{name} has become {new}; the former name goes with the next release",
        DeprecationWarning,
        stacklevel=stacklevel + 1,
    )


def warn_moved(module: str, new: str) -> None:
    """Warn whoever imports a module by its former name, and have the name mean the new module from now on.

    So a class of either name is one and the same, whichever name a stored run or somebody's file has for it.

    :param module: the former name, of the module that calls this.
    :param new: the name that it has now.
    """
    # Above this function stand the module and the import system, whose frames warnings leave out by themselves.
    warn_renamed(module, new, stacklevel=3)
    sys.modules[module] = import_module(new)
