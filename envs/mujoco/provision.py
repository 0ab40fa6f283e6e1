"""Fetch the pinned wheels with pip (sha256-checked) and keep the library, the models and the licences.

usage: provision.py DEST
Any Python >= 3.8 with pip will do: the wheel tag asked for is fixed, so one hash serves every interpreter.
The last line on stderr says what went wrong; envs/build.rs quotes it. Nothing is written on stdout: in a
build script that belongs to cargo.
"""
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import zipfile

REQUIREMENTS = pathlib.Path(__file__).resolve().parent / "requirements.txt"
KEEP = [  # (name in the wheel, folder under DEST)
    (r"mujoco/(libmujoco\.so\.[\d.]+)$", "lib"),
    (r"gymnasium/envs/mujoco/assets/(.*\.xml)$", "gymnasium"),
    (r"dm_control/suite/([^/]*\.xml|common/.*\.xml|dog_assets/.*)$", "dm_control"),
    (r"((?:mujoco|gymnasium|dm_control)-[^/]*/(?:licenses/)?(?:LICENSE|NOTICE)[^/]*)$", "licenses"),
]


def download(to):
    if importlib.util.find_spec("pip") is None:
        sys.exit("%s has no pip" % sys.executable)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary=:all:", "--platform", "manylinux_2_28_x86_64", "--implementation", "cp",
               "--python-version", "3.11", "--abi", "cp311", "--abi", "none", "--require-hashes",
               "-r", str(REQUIREMENTS), "-d", str(to)]
    pip = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    sys.stderr.write(pip.stdout)
    if pip.returncode == 0:
        return
    if "DO NOT MATCH THE HASHES" in pip.stdout:
        sys.exit("pip downloaded a wheel whose sha256 is not the one in %s" % REQUIREMENTS)
    errors = [line for line in pip.stdout.splitlines() if line.startswith("ERROR")]
    sys.exit("pip could not download the wheels in %s, is the network reachable? (%s)"
             % (REQUIREMENTS, errors[0] if errors else "exit status %d" % pip.returncode))


def unpack(wheels, to):
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                for pattern, folder in KEEP:
                    match = re.match(pattern, member.filename)
                    if match and not member.is_dir():
                        path = to / folder / match[1]
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(archive.read(member))
                        # the wheel's own date: cargo takes a file newer than the build for a changed one
                        date = time.mktime(member.date_time + (0, 0, -1))
                        os.utime(str(path), (date, date))
    (to / ".complete").touch()


def main(dest):
    if (dest / ".complete").exists():
        return
    dest.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=str(dest.parent)) as scratch:
        scratch = pathlib.Path(scratch)
        download(scratch / "wheels")
        unpack(scratch / "wheels", scratch / "out")
        try:
            os.replace(str(scratch / "out"), str(dest))
        except OSError:  # another process won the race, or DEST holds something else
            if not (dest / ".complete").exists():
                sys.exit("%s exists but is incomplete: remove it and try again" % dest)


main(pathlib.Path(sys.argv[1]))
