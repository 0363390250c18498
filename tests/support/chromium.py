"""Pages in headless Chromium: what the console says, which requests leave the page, how it looks."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
NOT_THE_PAGE = "not an origin"  # initiator of what Chromium asks for by itself (the time, updates)


def browser() -> str:
    """Path of a Chromium; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("there is no Chromium to render with; install one, as in: apt-get install chromium")
    return found


def open_page(page: Path, directory: Path, dark: bool = False) -> tuple[list[str], list[str], str]:
    """Opens a file: the console's messages, the URLs that the page asked other hosts for, and the page as rendered."""
    log = directory / "net.json"
    options = [
        "--headless=new",
        *QUIET,
        f"--user-data-dir={directory / 'profile'}",
        "--enable-logging=stderr",
        f"--log-net-log={log}",
    ]
    options += [f"--blink-settings=preferredColorScheme={int(not dark)}", "--dump-dom", page.resolve().as_uri()]
    done = subprocess.run([browser(), *options], capture_output=True, text=True, timeout=120, check=True)
    messages = re.findall(r"CONSOLE[:(]\d+\)?\] (.*)", done.stderr)
    events = (event.get("params", {}) for event in json.loads(log.read_text())["events"])
    asked = {
        event["url"] for event in events if "url" in event and event.get("initiator", NOT_THE_PAGE) != NOT_THE_PAGE
    }
    return messages, sorted(url for url in asked if urlsplit(url).scheme not in ("file", "data")), done.stdout
