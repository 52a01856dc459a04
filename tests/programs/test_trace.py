#!/usr/bin/env python3
"""`test_trace.py PROGRAM`: a program under ATTUNE_TRACE as it is, and the variables' wrong values.

PROGRAM trains for a few hundred steps and prints what it does.
"""
import json
import math
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

PROGRAM = os.path.abspath(sys.argv.pop())
DTYPES = {"F32": ("f", 4), "F64": ("d", 8), "I64": ("q", 8), "I32": ("i", 4), "BOOL": ("?", 1)}


def run(variables, **options):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ATTUNE_")}
    return subprocess.run(
        [PROGRAM],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        **options,
    )


def read(path):
    """A trace file, by the format's description alone: (trace, name -> elements)."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = (8 + size + at for at in entry["data_offsets"])
            code, width = DTYPES[entry["dtype"]]
            tensors[name] = struct.unpack(f"<{(end - begin) // width}{code}", data[begin:end])
    return json.loads(header["__metadata__"]["attune.trace"]), tensors


class Trace(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.addCleanup(self.folder.cleanup)

    def test_output_stays_the_same(self):
        plain = run({})
        traced = run({"ATTUNE_TRACE": str(self.path / "t.safetensors"), "ATTUNE_TRACE_STEPS": "1,3,7"})
        self.assertEqual(plain.returncode, 0)
        self.assertEqual((plain.stdout, plain.returncode), (traced.stdout, traced.returncode))
        trace, tensors = read(self.path / "t.safetensors")
        self.assertEqual([p["number"] for p in trace["passes"]], [1, 3, 7])
        self.assertGreater(len(trace["progress"]), 7)
        for number, value in enumerate(trace["values"]):
            if value.get("whole", True):
                self.assertEqual(math.prod(value["shape"]), len(tensors[f"v{number}"]))
        first = trace["passes"][0]
        root = first["nodes"][first["root"]]
        self.assertEqual(tensors[f"v{root['outputs'][0]}"][0], first["loss"])
        self.assertTrue(first["updates"])
        for step in first["steps"]:  # each sum is that of its arrivals, as float32 adds them
            total = None
            for arrival in step.get("arrivals", []):
                added = tensors[f"v{arrival['value']}"]
                total = added if total is None else tuple(a + b for a, b in zip(total, added))
                after = tensors[f"v{arrival.get('sum', arrival['value'])}"]
                for a, b in zip(total, after):
                    self.assertAlmostEqual(a, b, delta=1e-6 * max(1, abs(b)))

    def test_sources_stay_out(self):
        run({"ATTUNE_TRACE": str(self.path / "t.safetensors"), "ATTUNE_TRACE_SOURCE": "0"})
        trace, _ = read(self.path / "t.safetensors")
        self.assertEqual(trace["sources"], {})

    def test_budget(self):
        run({"ATTUNE_TRACE": str(self.path / "t.safetensors"), "ATTUNE_TRACE_BYTES": "100"})
        trace, tensors = read(self.path / "t.safetensors")
        self.assertGreater(trace["summarised"], 0)
        self.assertIn("histogram", next(v for v in trace["values"] if not v.get("whole", True)))
        self.assertLess(sum(map(len, tensors.values())), 100)

    def test_a_program_that_dies_leaves_what_it_recorded(self):
        path = self.path / "t.safetensors"
        environment = os.environ | {"ATTUNE_TRACE": str(path), "ATTUNE_TRACE_STEPS": "1-"}
        program = subprocess.Popen([PROGRAM], env=environment, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while not path.exists() and time.monotonic() < end and program.poll() is None:
            time.sleep(0.001)
        program.send_signal(signal.SIGKILL)
        program.wait()
        trace, _ = read(path)
        self.assertGreaterEqual(len(trace["passes"]), 1)

    def test_wrong_values_end_it_before_it_begins(self):
        t = str(self.path / "t.html")
        for variables, says in [
            ({"ATTUNE_TRACE": "t.txt"}, "ends in .html"),
            ({"ATTUNE_TRACE": str(self.path / "no/t.html")}, "cannot be opened"),
            ({"ATTUNE_TRACE": t, "ATTUNE_TRACE_STEPS": "0"}, "counted from 1"),
            ({"ATTUNE_TRACE": t, "ATTUNE_TRACE_STEPS": "5-2"}, "counted from 1"),
            ({"ATTUNE_TRACE": t, "ATTUNE_TRACE_STEPS": "one"}, "counted from 1"),
            ({"ATTUNE_TRACE": t, "ATTUNE_TRACE_BYTES": "-1"}, "no number of bytes"),
            ({"ATTUNE_TRACE": t, "ATTUNE_TRACE_SLICES": "w"}, "NAME[0, :4]"),
            ({"ATTUNE_STEP": "yes"}, "is 1, to step, or 0"),
            ({"ATTUNE_STEP": "1", "ATTUNE_STEP_COMMANDS": str(self.path / "none")}, "none"),
        ]:
            with self.subTest(variables):
                result = run(variables)
                self.assertEqual(result.returncode, 2)
                self.assertEqual(result.stdout, "")
                self.assertIn(says, result.stderr)
                self.assertEqual(list(self.path.iterdir()), [])

    def test_commands_of_a_file_step(self):
        (self.path / "steps").write_text("next\nback\nquit\n")
        plain, stepped = run({}), run({"ATTUNE_STEP_COMMANDS": str(self.path / "steps")})
        self.assertEqual(stepped.returncode, 0)
        self.assertIn("step 1 of", stepped.stdout)
        self.assertTrue(stepped.stdout.endswith(plain.stdout))

    def test_page_and_save_keep_to_endings_and_overwrite_nothing_unasked(self):
        (self.path / "attune.html").write_text("mine")
        (self.path / "steps").write_text(
            "page\npage\nsave\npage steps\nsave own.html\npage own.html\nsave none/a.safetensors\nquit\n"
        )
        result = run({"ATTUNE_STEP_COMMANDS": "steps", "COLUMNS": "200"}, cwd=self.path)
        self.assertEqual(result.returncode, 0)
        for says in (
            "written to attune-2.html\n",
            "written to attune-3.html\n",
            "written to attune.safetensors\n",
            "steps: a page's name ends in .html\n",
            "own.html: a trace file's name ends in .safetensors\n",
            "written to own.html\n",
            "none/a.safetensors: ",
        ):
            self.assertIn(says, result.stdout)
        self.assertNotIn("environment.cpp", result.stdout)
        self.assertEqual((self.path / "attune.html").read_text(), "mine")
        self.assertEqual(
            sorted(p.name for p in self.path.iterdir()),
            ["attune-2.html", "attune-3.html", "attune.html", "attune.safetensors", "own.html", "steps"],
        )

    def test_ctrl_c_at_the_prompt_cancels_the_line(self):
        for term in ("xterm", "dumb"):
            with self.subTest(term):
                program, terminal = pty.fork()
                if program == 0:
                    environment = {"ATTUNE_STEP": "1", "TERM": term, "HOME": str(self.path), "PATH": os.environ["PATH"]}
                    os.execve(PROGRAM, [PROGRAM], environment)
                said = ""

                def expect(text):
                    nonlocal said
                    end = time.monotonic() + 60
                    while text not in said:
                        self.assertTrue(select.select([terminal], [], [], end - time.monotonic())[0], said)
                        said += os.read(terminal, 4096).decode()
                    said = said[said.index(text) + len(text) :]

                expect("> ")
                for _ in range(3):
                    os.write(terminal, b"quit")
                    expect("quit")
                    os.write(terminal, b"\x03")
                    expect("> ")
                os.write(terminal, b"next\n")
                expect("step 1 of")
                expect("> ")
                os.write(terminal, b"quit\n")
                status = None
                while status is None:  # what it says is read, so that it does not wait for that
                    try:
                        os.read(terminal, 4096)
                    except OSError:
                        status = os.waitpid(program, 0)[1]
                os.close(terminal)
                self.assertEqual(status, 0)


if __name__ == "__main__":
    unittest.main()
