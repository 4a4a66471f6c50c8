"""A test of code that a model wrote, in a process of its own, with limits.

The limits keep an answer that loops or hoards from stopping the run. They are no sandbox: the code
runs as this user and reads what this user may read. Where answers are not trusted, run inarch
within a container.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

_FENCED = re.compile(r"```([^\n]*)\n(.*?)(?:```|\Z)", re.DOTALL)
_PYTHON = frozenset({"", "python", "python3", "py"})
"""What stands behind a fence that opens code to run; others show commands or output."""
_LIMITED = """if True:
    import resource, runpy, sys
    for name, most in zip(("CPU", "AS", "FSIZE", "CORE"), map(int, sys.argv[1:])):
        resource.setrlimit(getattr(resource, "RLIMIT_" + name), (most, most))
    runpy.run_path("answer.py", run_name="answer")
"""
"""Run in the child before anything else; a function between fork and exec could hang threads."""
_LARGEST_FILE = 2**24


def code_of(answer: str) -> str:
    """Return the code within an answer: that between fences, one after the other, or all of it.

    Fences that name another language do not count, unless all do.
    """
    found = [(kind.strip().lower(), code) for kind, code in _FENCED.findall(answer)]
    python = [code for kind, code in found if kind in _PYTHON]
    return "\n".join(python or [code for _, code in found]) or answer


def passes(code: str, test: str, timeout_s: float, memory_mib: int) -> bool:
    """Return whether a test runs to its end after the code.

    Args:
        code: Python that a model wrote.
        test: Python that raises an error where the code is wrong.
        timeout_s: Longest run; what takes longer fails.
        memory_mib: Most address space.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Code that ends the interpreter early, as exit(0) does, has not passed.
        proof = Path(folder, f"passed-{os.urandom(8).hex()}")
        script = f"{code}\n\n{test}\n\nopen({str(proof)!r}, 'w').close()\n"
        Path(folder, "answer.py").write_text(script, encoding="utf-8", errors="replace")
        limits = (int(timeout_s) + 1, memory_mib * 2**20, _LARGEST_FILE, 0)
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _LIMITED, *map(str, limits)],
            cwd=folder,
            env={"PATH": os.environ.get("PATH", "")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(timeout_s) == 0 and proof.exists()
        except subprocess.TimeoutExpired:
            return False
        finally:
            with suppress(ProcessLookupError):  # also ends what it started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
