"""What the walks of the REST libraries share: a real device beside them, waiting for a state, and refusals."""
import json
import os
import pathlib
import subprocess
import time

START, MINUTE = 1_700_000_000_000, 60_000
IMAGE = b"".join(b"line %d|" % line for line in range(10_000))


class Device:
    """A device with this access token, which publishes on `up/…` and answers, in a process of its own."""

    def __init__(self, token, *secret):
        script = pathlib.Path(__file__).with_name("answering.py")
        self.process = subprocess.Popen([os.environ["DEVICE_PYTHON"], script, token, "up", *secret])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def ended(self):
        """Waits until the server has ended its session."""
        return self.process.wait(timeout=30)


def eventually(what, state):
    """Looks until `state` gives something."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = state()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited in vain: {what}")


def refused(kind, status, words, call, *arguments, **named):
    """Insists that a call is refused with this status, and that the client shows these words."""
    try:
        answer = call(*arguments, **named)
    except kind as refusal:
        assert refusal.status == status, (refusal.status, refusal.body)
        assert words in str(refusal), f"{words!r} is not in {refusal}"
        body = json.loads(refusal.body)
        assert body["status"] == status and isinstance(body["errorCode"], int), body
        assert words in body["message"], body
        return
    raise AssertionError(f"{call} was not refused: {answer}")
