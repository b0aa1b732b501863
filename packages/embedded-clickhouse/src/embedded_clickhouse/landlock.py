"""The wall around the server's process: Linux's Landlock, which lets a process give up access to files for good.

What a statement may name is checked in ``confinement.py``. This holds where that has a gap, on kernels that have it
(5.19 and newer); the engine's threads, and what it starts, are behind it too.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
# Version 1 forbids moving a file from one folder to another, which the engine does all the time.
_LEAST_VERSION = 2
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
# What libraries read of a system: their code, its time zones, names of hosts, certificates, what it knows of processes.
_SYSTEM = (
    *("/usr", "/lib", "/lib64", "/bin", "/sbin", "/nix/store", "/proc", "/sys"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/timezone", "/etc/hosts", "/etc/host.conf", "/etc/resolv.conf"),
    *("/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols", "/etc/ssl", "/etc/pki"),
    *("/etc/ca-certificates", "/etc/alternatives", "/run/systemd/resolve"),
)


_state = {"restricted": False}


def restrict_files(writable: Iterable[Path]) -> bool:
    """Take from this thread, and all that it will start, the access to files that a server does not need.

    Called before there are other threads: those that exist keep theirs. It cannot be undone.

    :param writable: the folders that stay open for everything.
    :returns: whether the kernel could do it.
    """
    version = _call(_CREATE_RULESET, None, 0, _VERSION_FLAG) if sys.platform == "linux" else -1
    if version < _LEAST_VERSION:
        return False
    # Every access that this version knows of, up to truncation: what came later is about devices.
    handled = (1 << (14 if version < 3 else 15)) - 1
    attributes = struct.pack("=Q", handled)
    ruleset = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    try:
        for path in writable:
            _allow(ruleset, path, handled)
        for path in _readable():
            _allow(ruleset, path, handled & _READ)
        _allow(ruleset, Path("/dev"), handled & (_READ | _WRITE_FILE | _TRUNCATE))
        _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _state["restricted"] = _call(_RESTRICT_SELF, ruleset, 0) == 0
        return _state["restricted"]
    finally:
        os.close(ruleset)


def is_restricted() -> bool:
    """Whether this process is behind the wall."""
    return _state["restricted"]


def _readable() -> Iterable[Path]:
    """Where this program, its interpreter and its libraries are, and what they read of the system."""
    prefixes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    installed = {path for path in sys.path if path.endswith(("site-packages", "dist-packages"))}
    yield from (Path(path) for path in (*prefixes, *installed, *_SYSTEM))
    yield Path(__file__).parent


def _allow(ruleset: int, path: Path, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        # Not on this system.
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            access &= _OF_FILES
        rule = struct.pack("=Qi", access, descriptor)
        if _call(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0) != 0:
            raise OSError(ctypes.get_errno(), f"Landlock takes no rule for {path}")
    finally:
        os.close(descriptor)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    converted = [ctypes.c_long(part) if isinstance(part, int) else part for part in arguments]
    function = _libc().syscall
    function.restype = ctypes.c_long
    return int(function(ctypes.c_long(number), *converted))
