"""What the child gives up before it sees a byte of media: files, connections, other processes, and its life if need be.

Everything here is a second wall. Where the kernel or the processor does not know one of them, the others stand.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import platform
import resource
import select
import signal
import struct
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2

_MOST_DESCRIPTORS = 32

_X86_64 = """
    read 0 write 1 close 3 fstat 5 poll 7 lseek 8 mmap 9 mprotect 10 munmap 11 brk 12 rt_sigaction 13 rt_sigprocmask 14
    rt_sigreturn 15 pread64 17 readv 19 writev 20 select 23 sched_yield 24 mremap 25 madvise 28 nanosleep 35 getpid 39
    sendto 44 recvfrom 45 sendmsg 46 recvmsg 47 clone 56 exit 60 uname 63 getrusage 98 sysinfo 99 sigaltstack 131
    gettid 186 futex 202 sched_getaffinity 204 restart_syscall 219 clock_gettime 228 clock_getres 229
    clock_nanosleep 230 exit_group 231 newfstatat 262 pselect6 270 ppoll 271 set_robust_list 273 getrandom 318
    membarrier 324 rseq 334 clone3 435
"""
_AARCH64 = """
    close 57 lseek 62 read 63 write 64 readv 65 writev 66 pread64 67 pselect6 72 ppoll 73 newfstatat 79 fstat 80 exit 93
    exit_group 94 futex 98 set_robust_list 99 nanosleep 101 clock_gettime 113 clock_getres 114 clock_nanosleep 115
    sched_getaffinity 123 sched_yield 124 restart_syscall 128 sigaltstack 132 rt_sigaction 134 rt_sigprocmask 135
    rt_sigreturn 139 uname 160 getrusage 165 getpid 172 gettid 178 sysinfo 179 sendto 206 recvfrom 207 sendmsg 211
    recvmsg 212 brk 214 munmap 215 mremap 216 clone 220 mmap 222 mprotect 226 madvise 233 getrandom 278 membarrier 283
    rseq 293 clone3 435
"""
"""The system calls that decoding needs, with their numbers.

From Linux' arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

_MACHINES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}
"""By name the audit architecture and the system calls."""

_LOAD, _EQUALS, _HAS_BITS, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_AT_NUMBER, _AT_MACHINE, _AT_FIRST_ARGUMENT = 0, 4, 16
_CLONE_THREAD = 0x10000
_EPERM, _ENOSYS = 1, 38


def die_with(owner: int, lifeline: int, *, from_main_thread: bool) -> bool:
    """Have the kernel end this process as soon as its owner is gone, even in the middle of decoding.

    The lifeline is a pipe whose other end the owner alone holds: when it closes, SIGIO comes, which ends a process
    that does not handle it. The parent-death signal comes too, where it can be trusted: it is sent when the thread
    that started us ends. False if the owner is gone already.
    """
    if from_main_thread:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    gone = select.poll()
    gone.register(lifeline, select.POLLIN)
    return not gone.poll(0) and os.getppid() == owner


def confine() -> bool:
    """Give up what decoding does not need, for good; whether the kernel's filter of system calls is among it."""
    # 1, not 0: a core_pattern that pipes ignores 0, and a crash would be written out with all its memory
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_DESCRIPTORS, _MOST_DESCRIPTORS))
    with contextlib.suppress(OSError):
        # where the machine itself is short of memory, this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000")
    return _filter_system_calls()


def _filter_system_calls() -> bool:
    known = _MACHINES.get(platform.machine())
    if known is None:
        return False
    machine, listed = known
    words = listed.split()
    program = _program(machine, {name: int(number) for name, number in zip(words[::2], words[1::2], strict=True)})
    steps = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a count, padding, a pointer
    packed = struct.pack("@HP", len(program) // 8, ctypes.addressof(steps))
    header = ctypes.create_string_buffer(packed, len(packed))
    return _prctl(_PR_SET_NO_NEW_PRIVS, 1) and _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(header))


def _prctl(option: int, *arguments: int) -> bool:
    four = [*arguments, 0, 0, 0, 0][:4]
    return bool(ctypes.CDLL(None).prctl(option, *map(ctypes.c_ulong, four)) == 0)


def _program(machine: int, numbers: dict[str, int]) -> bytes:
    """A BPF program for seccomp: what is not known to be needed fails with EPERM.

    New threads are allowed, new processes are not; clone3, whose flags a filter cannot see, is said not to exist, and
    the C library falls back to clone.
    """
    plain = [number for name, number in numbers.items() if name not in ("clone", "clone3")]
    steps = [
        (_LOAD, 0, 0, _AT_MACHINE),
        (_EQUALS, 1, 0, machine),
        (_RETURN, 0, 0, _REFUSE | _EPERM),
        (_LOAD, 0, 0, _AT_NUMBER),
    ]
    to_allow = len(plain) + 6
    steps += [(_EQUALS, to_allow - place - 1, 0, number) for place, number in enumerate(plain)]
    steps += [
        (_EQUALS, 0, 1, numbers["clone3"]),
        (_RETURN, 0, 0, _REFUSE | _ENOSYS),
        (_EQUALS, 0, 2, numbers["clone"]),
        (_LOAD, 0, 0, _AT_FIRST_ARGUMENT),
        (_HAS_BITS, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _REFUSE | _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
