"""An embedded broker: fakeredis over TCP serves real Celery, in a process of its own.

It lacks CLIENT UNBLOCK: a stop there waits for the armed BRPOP to end by itself (1 s at most).
"""

import sys

from fakeredis import TcpFakeServer


def main() -> None:
    """Serve on a free port of the loopback; prints the port; ends with its standard input."""
    server = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    import threading

    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
