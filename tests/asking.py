"""Ask something of a service that this process is about to serve, and interrupt it then."""

import os
import secrets
import signal
import socket
import threading
import time
import urllib.request


def free_port() -> int:
    """A port that is free, and below those that systems give, so that no other test is given it before it is used."""
    while True:
        try:
            with socket.create_server(("127.0.0.1", port := 20_000 + secrets.randbelow(10_000))):
                return port
        except OSError:
            continue


def ask_and_interrupt(address: str, answers: list[str], seconds: float = 60) -> threading.Thread:
    """Get an address once it is served, keep what is answered, and press Ctrl-C; all in a thread."""

    def ask() -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                with urllib.request.urlopen(address) as answered:
                    answers.append(answered.read().decode())
                break
            except OSError:
                time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    asking = threading.Thread(target=ask)
    asking.start()
    return asking
