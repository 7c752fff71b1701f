"""Runs a command whose kernel refuses io_uring, as that of many containers does: `python refuse.py COMMAND ...`."""

import ctypes
import errno
import os
import sys

IO_URING_SETUP = 425
"""The number of the call, the same on every architecture."""

_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("k", ctypes.c_uint)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction))]


def refuse() -> None:
    """Makes the call fail with `EPERM` in this process and all it starts."""
    load, equal, answer = 0x20, 0x15, 0x06
    allowed, failed = 0x7FFF0000, 0x00050000 | errno.EPERM
    instructions = (_Instruction * 4)(
        _Instruction(load, 0, 0, 0),
        _Instruction(equal, 0, 1, IO_URING_SETUP),
        _Instruction(answer, 0, 0, failed),
        _Instruction(answer, 0, 0, allowed),
    )
    program = _Program(len(instructions), instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), "the kernel takes no filter of calls")


if __name__ == "__main__":
    refuse()
    os.execv(sys.argv[1], sys.argv[1:])
