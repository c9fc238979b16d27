"""Roles under their supervisor: they come back, they end with it, and they refuse what cannot work."""

from __future__ import annotations

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.nodes import ROLES, RunningNode, wait_until


def test_a_role_that_dies_is_started_again(tmp_path: Path, database_url: str) -> None:
    with RunningNode(tmp_path, database_url=database_url) as node:
        for role in ROLES:
            killed = node.kill_role(role)
            wait_until(lambda role=role: node.pids(role), 30, f"another {role}")
            assert node.pids(role) != [killed]
        wait_until(node.is_healthy, 30, "health after three deaths")


def test_roles_end_with_their_supervisor(tmp_path: Path) -> None:
    with RunningNode(tmp_path) as node:
        node.kill_supervisor()
        wait_until(lambda: not any(node.pids(role) for role in ROLES), 30, "the end of all roles")


def test_several_receivers_share_the_port_and_the_promises(tmp_path: Path, database_url: str) -> None:
    with RunningNode(tmp_path, database_url=database_url, receive={"processes": 2}) as node:
        wait_until(lambda: len(node.pids("receive")) == 2, 30, "two receivers")
        for _ in range(20):
            wait_until(node.answers_echo, 5, "an answer from either")


def test_associations_do_not_each_leave_memory_behind(tmp_path: Path) -> None:
    node = RunningNode(tmp_path, supervised=False)
    node.start("receive")
    try:
        wait_until(node.answers_echo, 60, "a receiver")
        (pid,) = node.pids("receive")
        before = len(_arenas(pid))  # threads of libraries may have made some before there was a limit
        with ThreadPoolExecutor(16) as peers:
            assert all(peers.map(lambda _: node.answers_echo(), range(64)))
        assert len(_arenas(pid)) <= max(1, before)  # besides the heap, which is one as well
    finally:
        node.stop()


def _arenas(pid: int) -> list[str]:
    """The arenas that glibc has made for threads: each reserves memory up to a border of 64 MiB."""
    reserved = (line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines())
    return [
        words[0]
        for words in reserved
        if words[1] == "---p" and words[4] == "0" and int(words[0].split("-")[1], 16) % (64 << 20) == 0
    ]


def test_a_port_that_is_taken_ends_the_node_with_the_status_of_wrong_usage(tmp_path: Path) -> None:
    node = RunningNode(tmp_path)
    with socket.create_server(("127.0.0.1", node.port)):
        ended = subprocess.run(
            [sys.executable, "-m", "cmmd_node.cli", "serve", "--config", str(node.config)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 2
    assert f"cannot listen on 127.0.0.1:{node.port}" in ended.stderr
    assert "Traceback" not in ended.stderr
