"""Whether each extra can be installed by plain pip, by what the registry has today: asks it, and installs nothing.

    python -m tests.campaigns.installs [--python 3.11] [--extra speech]

pyproject.toml is resolved without what it tells uv about packages, which pip does not read. Prints a line an extra that
cannot be had, and one JSON object; the exit status is 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORM = "x86_64-manylinux_2_34"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", choices=PYTHONS, action="append")
    parser.add_argument("--extra", action="append")
    options = parser.parse_args()
    text = (ROOT / "pyproject.toml").read_text()
    extras = options.extra or list(tomllib.loads(text)["project"]["optional-dependencies"])
    resolved, refused = 0, []
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "pyproject.toml"
        plain.write_text(re.sub(r"^\[+tool\.uv.*?(?=^\[+(?!tool\.uv))", "", text, flags=re.MULTILINE | re.DOTALL))
        assert "uv" not in tomllib.loads(plain.read_text())["tool"]
        for python in options.python or PYTHONS:
            for extra in extras:
                command = [sys.executable, "-m", "uv", "--quiet", "--no-config", "pip", "compile", str(plain)]
                command += ["--extra", extra, "--python-version", python, "--python-platform", PLATFORM]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                resolved += done.returncode == 0
                if done.returncode:
                    refused.append(f"{extra} on {python}")
                    print(f"{refused[-1]}: {done.stderr.strip()}")
    print(json.dumps({"resolved": resolved, "refused": refused}))
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
