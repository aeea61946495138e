"""Hosts out of namespaces: each with a network, processes, a name, a /tmp and a /dev/shm of its own, on one bridge.

Needs root, `unshare`, `nsenter` and `ip` (Debian: util-linux and iproute2). The process that makes hosts lives in a
network namespace of its own, with the bridge: `enter_switch` takes it there, and all of it ends with that process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

SWITCH = "VIDRAY_SWITCH"
NETWORK = "10.77.0"
SWITCH_ADDRESS = f"{NETWORK}.1"
INIT = ("bash", "-c", "trap : TERM; while :; do sleep 1000 & wait; done")
"""The first process of a host: it waits for orphans, as an init does."""
NAMESPACES = ("net", "pid", "mount", "uts", "ipc")
WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
"""A campaign that is killed leaves no host behind."""
TRIAL = (
    "ip link add vidray0 type bridge && ip link add vidray1 type veth peer name vidray2 && "
    "unshare --net --pid --fork --mount --uts --ipc mount -t tmpfs none /tmp"
)


def why_not() -> str | None:
    """Why no hosts can be made here; None where they can."""
    missing = [name for name in ("ip", "unshare", "nsenter", "setpriv", "mount") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not found: apt install iproute2 util-linux"
    done = subprocess.run(["unshare", "--net", "--mount", "bash", "-c", TRIAL], capture_output=True, text=True)
    return None if done.returncode == 0 else f"namespaces are not allowed here: {done.stderr.strip()[-200:]}"


def enter_switch(module: str) -> None:
    """Go on in a network namespace with a bridge and nothing else; returns there."""
    if os.environ.get(SWITCH) is None:
        os.environ[SWITCH] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, "-m", module, *sys.argv[1:]])
    for command in (
        "ip link set lo up",
        "ip link add switch type bridge forward_delay 0",
        "ip link set switch up",
        f"ip addr add {SWITCH_ADDRESS}/24 dev switch",
    ):
        subprocess.run(command.split(), check=True)


@dataclass
class Host:
    """One host; `number` is the last part of its address.

    Attributes:
        shm: Size of its /dev/shm, as of mount.
        disk: Size of its /tmp.
        hidden: Files or folders that it has otherwise, with what it has in their place.
    """

    number: int
    log: Path
    shm: str = "256m"
    disk: str = "1g"
    hidden: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.running: list[subprocess.Popen[bytes]] = []
        own = [f"--{kind}" for kind in NAMESPACES]
        command = [*WITH_US, "unshare", *own, "--fork", "--kill-child", "--mount-proc", *INIT]
        self._unshare = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.init = self._wait_for_init()
        self._plug_in()
        self.do(f"mount -t tmpfs -o size={self.disk} none /tmp")
        self.do(f"mount -t tmpfs -o size={self.shm} none /dev/shm")
        self.do(f"hostname host{self.number}")
        names = self.log.with_suffix(".hosts")
        names.write_text(f"127.0.0.1 localhost\n{self.address} host{self.number}\n")
        # there is nobody to ask for names
        self.do(f"mount --bind {names} /etc/hosts")
        self.do("mount --bind /dev/null /etc/resolv.conf")
        for place, instead in self.hidden.items():
            self.do(f"mount --bind {instead} {place}")

    @property
    def address(self) -> str:
        return f"{NETWORK}.{self.number}"

    def do(self, command: str) -> None:
        """Run a command there, and wait until it has ended well."""
        subprocess.run([*self._enter(), *command.split()], check=True)

    def start(self, command: Sequence[str], environ: Mapping[str, str], out: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a command there."""
        process = subprocess.Popen([*self._enter(), *command], env=dict(environ), stdout=out, stderr=subprocess.STDOUT)
        self.running.append(process)
        return process

    def cut(self) -> None:
        """Pull its cable: nobody is told."""
        subprocess.run(["ip", "link", "set", f"port{self.number}", "down"], check=True)

    def mend(self) -> None:
        subprocess.run(["ip", "link", "set", f"port{self.number}", "up"], check=True)

    def freeze(self) -> None:
        """Stop all of its processes, as the clock of a virtual machine stops."""
        for pid in self._inside():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        # what started them has stopped with them
        for pid in (*self._inside(), *(process.pid for process in self.running)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _inside(self) -> list[int]:
        """Its processes but the first, by their ids here."""
        found = []
        for place in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if (
                    place.name.isdigit()
                    and (place / "ns/pid").readlink() == Path(f"/proc/{self.init}/ns/pid").readlink()
                ):
                    found.append(int(place.name))
        return [pid for pid in found if pid != self.init]

    def fill_disk(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.do("dd if=/dev/zero of=/tmp/full bs=1M status=none")

    def power_off(self) -> None:
        """Gone at once: no connection is closed, no process ends in its own way."""
        self.cut()
        self.end()

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.init, signal.SIGKILL)
        for process in (*self.running, self._unshare):
            # nsenter stops with what it has started, and goes on with nobody
            process.kill()
            process.wait()

    def _enter(self) -> list[str]:
        return ["nsenter", "--target", str(self.init), *(f"--{kind}" for kind in NAMESPACES), "--"]

    def _wait_for_init(self) -> int:
        for _ in range(200):
            children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text().split()
            if children:
                time.sleep(0.2)
                return int(children[0])
            time.sleep(0.05)
        raise RuntimeError("a namespace was not made within 10 s")

    def _plug_in(self) -> None:
        port = f"port{self.number}"
        for command in (
            f"ip link add {port} type veth peer name eth0 netns {self.init}",
            f"ip link set {port} master switch up",
        ):
            subprocess.run(command.split(), check=True)
        self.do("ip link set lo up")
        self.do(f"ip addr add {self.address}/24 dev eth0")
        self.do("ip link set eth0 up")
