"""What ssh_config says, with the files that it includes."""

from __future__ import annotations

from pathlib import Path

import paramiko

from noetl.ops import ssh_config


def test_included_files_are_read_in_their_place(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "one").write_text("Host a\n  HostName one.example\n")
    (tmp_path / "conf.d" / "two").write_text("Include two.more\n")
    (tmp_path / "conf.d" / "two.more").write_text("Host b\n  HostName two.example\n")
    (tmp_path / "config").write_text("User everybody\nHost c\n  Port 7\n  Include conf.d/*\n  ConnectTimeout 3\nHost *\n  Port 9\n")
    config = paramiko.SSHConfig.from_text(ssh_config.text(tmp_path / "config"))
    assert config.lookup("a")["hostname"] == "one.example"
    assert config.lookup("a")["user"] == "everybody"
    assert config.lookup("a")["port"] == "9"
    assert "connecttimeout" not in config.lookup("a")
    assert config.lookup("c")["port"] == "7"
    assert config.lookup("c")["connecttimeout"] == "3"


def test_a_file_that_includes_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Include config\nHost a\n  Port 7\n")
    assert paramiko.SSHConfig.from_text(ssh_config.text(tmp_path / "config")).lookup("a")["port"] == "7"
