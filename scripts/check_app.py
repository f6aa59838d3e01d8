"""Start the app on a port, prove that it answers, stop it: `python scripts/check_app.py PORT`.

Three proofs: the server's health, its page, and the first screen run to its end without an error. A workspace of its own
keeps the user's projects out of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 60.0
FIRST_SCREEN = """
import streamlit
from streamlit.testing.v1 import AppTest
streamlit.set_option("client.showErrorDetails", "full")
screen = AppTest.from_file("app/main.py", default_timeout=60).run()
errors = [*screen.exception, *screen.error]
assert not errors, errors[0].message if screen.exception else errors[0].value
assert len(screen.main), "the first screen is empty"
"""


def fetch(url: str) -> tuple[int, str]:
    # Straight to this machine, whatever proxy the environment names.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        return answer.status, answer.read(200_000).decode("utf-8", "replace")


def wait_for(url: str, server: subprocess.Popen[bytes]) -> float:
    """Seconds until `url` answers."""
    start = time.monotonic()
    while time.monotonic() - start < PATIENCE_S:
        if server.poll() is not None:
            raise RuntimeError(f"the app ended with status {server.returncode} before it answered")
        try:
            if fetch(url)[0] == 200:
                return time.monotonic() - start
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"the app did not answer on {url} within {PATIENCE_S:.0f} s")


def check(port: int, home: str) -> float:
    environment = {**os.environ, "CPD_HOME": home}
    base = f"http://127.0.0.1:{port}"
    log = Path(home) / "serve.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "app.serve", "--port", str(port)]
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        healthy = wait_for(f"{base}/_stcore/health", server)
        status, page = fetch(f"{base}/")
        if status != 200 or "<html" not in page.lower():
            raise RuntimeError(f"{base}/ answered {status} without a page")
    except RuntimeError:
        print(log.read_text(errors="replace")[-4000:], file=sys.stderr)
        raise
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    screen = subprocess.run([sys.executable, "-c", FIRST_SCREEN], cwd=ROOT, env=environment, capture_output=True, text=True)
    if screen.returncode:
        lines = screen.stderr.strip().splitlines()
        raise RuntimeError(f"the first screen fails: {lines[-1] if lines else 'no message'}")
    return healthy


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="cpd-check-", ignore_cleanup_errors=True) as home:
        try:
            healthy = check(int(arguments[0]), home)
        except RuntimeError as error:
            print(f"check failed: {error}.", file=sys.stderr)
            return 1
    print(f"The app answers: healthy after {healthy:.1f} s, page and first screen without an error.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
