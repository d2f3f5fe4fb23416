"""A real Chromium without a window, driven by the DevTools protocol over two pipes; the standard library is enough."""

import fcntl
import json
import os
import select
import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SECONDS = 60


def find_browser() -> str | None:
    """The first that runs; some systems have commands that only say where to get one."""
    paths = (path for name in NAMES if (path := shutil.which(name)))
    return next(
        (path for path in paths if subprocess.run([path, "--version"], capture_output=True).returncode == 0), None
    )


def connect() -> tuple[int, int, int, int]:
    """Two pipes: ours to write to and to read from, then those of the other side to read from and to write to."""
    from_us, to_browser = os.pipe()
    from_browser, to_us = os.pipe()
    # Away from the numbers that they are to get in the other process.
    others = [fcntl.fcntl(number, fcntl.F_DUPFD, 10) for number in (from_us, to_us)]
    os.close(from_us)
    os.close(to_us)
    return to_browser, from_browser, *others


class Browser:
    """One page.

    Args:
        program: as `find_browser` gives it.
        profile: folder for what the browser writes.

    Attributes:
        requests: the addresses that were asked for.
        errors: messages of exceptions that scripts of the page did not catch, and of the console.
    """

    def __init__(self, program: str, profile: Path, width: int = 1000, height: int = 800):
        self.to_browser, self.from_browser, from_us, to_us = connect()
        # The browser reads from 3 and writes to 4.
        script = f'exec 3<&{from_us} 4>&{to_us} {from_us}<&- {to_us}>&-; exec "$@"'
        flags = (
            "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --remote-debugging-pipe --no-first-run "
            "--disable-background-networking --hide-scrollbars"
        )
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", program, *flags.split(), f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(from_us, to_us), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(from_us)
        os.close(to_us)
        self.buffer, self.count, self.session = b"", 0, None
        self.requests, self.errors = [], []
        page = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def call(self, method: str, **parameters) -> dict:
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.to_browser, data) :]
        while (answer := self.receive()).get("id") != self.count:
            self.note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def receive(self) -> dict:
        while b"\0" not in self.buffer:
            if not select.select([self.from_browser], [], [], SECONDS)[0]:
                raise RuntimeError(f"the browser has said nothing for {SECONDS} s")
            data = os.read(self.from_browser, 1 << 16)
            if not data:
                raise RuntimeError("the browser has ended")
            self.buffer += data
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def note(self, event: dict) -> None:
        details = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(details["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(details["exceptionDetails"].get("exception", {}).get("description", str(details)))
        elif event.get("method") == "Log.entryAdded" and details["entry"]["level"] == "error":
            self.errors.append(details["entry"]["text"])

    def evaluate(self, expression: str):
        """The value of an expression in the page, waited for if it is a promise."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"]["description"])
        return found["result"].get("value")

    def open(self, file: Path, until: str) -> None:
        """Opens a file and waits for the condition `until`."""
        self.call("Page.navigate", url=file.resolve().as_uri())
        self.evaluate(
            "new Promise((done) => { const look = () => (document.readyState === 'complete' && "
            f"({until}) ? done(true) : setTimeout(look, 10)); look(); }})"
        )

    def place(self, selector: str) -> dict:
        """The middle of an element, once it is in view."""
        return self.evaluate(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)}); "
            "found.scrollIntoView({block: 'center'}); const box = found.getBoundingClientRect(); "
            "return {x: box.x + box.width / 2, y: box.y + box.height / 2}; })()"
        )

    def hover(self, selector: str) -> None:
        self.call("Input.dispatchMouseEvent", type="mouseMoved", **self.place(selector))

    def click(self, selector: str) -> None:
        place = self.place(selector)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def tap(self, selector: str) -> None:
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[self.place(selector)])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str) -> None:
        code = {"Tab": 9, "Escape": 27, "End": 35, "Home": 36}
        code |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code[key])

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def close(self) -> None:
        self.session = None
        try:
            self.call("Browser.close")
        except (RuntimeError, OSError):
            pass  # it has gone before it answered
        os.close(self.to_browser)
        os.close(self.from_browser)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
