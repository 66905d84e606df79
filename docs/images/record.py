"""Record `recording.svg`: run the real commands, and render what they really wrote.

    .venv/bin/python docs/images/record.py

Free ports are taken and written as the usual ones, 8080 and 8090; nothing else of the output is changed.
Nothing is fetched: the picture uses the reader's own fonts.
"""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = 120
ASK = '"messages": [{"role": "user", "content": "Where is my order?"}]'
SETTINGS = """\
[providers.sim]
base_url = "http://127.0.0.1:8090/v1"
auth = "none"

[routes.assistant]
balance = ["sim/fault-503"]      # a model that always fails
fallback = ["sim/gpt-4o-mini"]
"""
FONTS = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
SVG = f"""\
<svg class="rich-terminal" viewBox="0 0 {{width}} {{height}}" xmlns="http://www.w3.org/2000/svg">
  <style>
    .{{unique_id}}-matrix {{{{
      font-family: {FONTS}; font-size: {{char_height}}px; line-height: {{line_height}}px;
    }}}}
    .{{unique_id}}-title {{{{ font-size: 16px; font-family: system-ui, sans-serif; }}}}
    {{styles}}
  </style>
  <defs>
    <clipPath id="{{unique_id}}-clip-terminal">
      <rect x="0" y="0" width="{{terminal_width}}" height="{{terminal_height}}" />
    </clipPath>
    {{lines}}
  </defs>
  {{chrome}}
  <g transform="translate({{terminal_x}}, {{terminal_y}})" clip-path="url(#{{unique_id}}-clip-terminal)">
    {{backgrounds}}
    <g class="{{unique_id}}-matrix">
    {{matrix}}
    </g>
  </g>
</svg>
"""
THEME = TerminalTheme(
    (24, 27, 33),
    (214, 218, 224),
    [
        (24, 27, 33),
        (238, 119, 119),
        (134, 205, 130),
        (229, 192, 108),
        (112, 168, 240),
        (198, 146, 233),
        (98, 196, 205),
        (214, 218, 224),
    ],
    [
        (128, 136, 148),
        (238, 119, 119),
        (134, 205, 130),
        (229, 192, 108),
        (112, 168, 240),
        (198, 146, 233),
        (98, 196, 205),
        (255, 255, 255),
    ],
)


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Terminal:
    """What is shown: commands as they are typed, and their output."""

    def __init__(self, folder: Path) -> None:
        self.console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
        self.ports = {8080: free_port(), 8090: free_port()}
        kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        self.environ = {
            **kept,
            "PATH": path,
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "COLUMNS": str(COLUMNS),
        }
        self._folder = folder

    def say(self, text: str) -> None:
        """Show a remark."""
        self.console.print(Text(f"# {text}", "bright_black"))

    def show(self, command: str) -> None:
        """Show a command."""
        self.console.print(Text("$ ", "bold green").append(command, "bold default"))

    def output(self, text: str) -> None:
        """Show output, with the usual ports."""
        for usual, taken in self.ports.items():
            text = text.replace(f":{taken}", f":{usual}")
        for line in text.replace("\r", "").rstrip("\n").split("\n"):
            self.console.print(Text.from_ansi(line), overflow="fold", highlight=False)

    def run(self, command: str) -> None:
        """Run a command in the folder and show it with what it wrote."""
        self.show(command)
        real = self.real(command)
        done = subprocess.run(  # noqa: S603 - a command from below
            ["/bin/bash", "-c", real],
            cwd=self._folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        self.output(done.stdout.rstrip())
        self.console.print()

    def start(self, shown: str, command: list[str], until: str, cwd: Path) -> Server:
        """Start a server at a terminal of its own; with `shown`, show what it wrote up to `until`."""
        server = Server([self.real(word) for word in command], cwd, self.environ)
        wrote = server.read(until)
        if shown:
            self.show(shown)
            self.output(wrote)
            self.console.print()
        return server

    def real(self, text: str) -> str:
        """Return a text with the ports that were taken."""
        for usual, taken in self.ports.items():
            text = text.replace(str(usual), str(taken))
        return text


class Server:
    """A process with a terminal of its own."""

    def __init__(self, command: list[str], cwd: Path, environ: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(  # noqa: S603 - a command from below
            ["/usr/bin/env", *command],  # finds the command in the environment's PATH, not in ours
            cwd=cwd,
            env=environ,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def read(self, until: str) -> str:
        """Return what it writes until a text, and what comes in the half second after it."""
        seen, give_up_at = "", time.monotonic() + 60
        while time.monotonic() < give_up_at:
            wait_s = 0.5 if until in seen else 1.0
            if select.select([self._ours], [], [], wait_s)[0]:
                seen += os.read(self._ours, 65536).decode(errors="replace")
            elif until in seen:
                return seen
        raise SystemExit(f"the server did not write {until!r}:\n{seen}")

    def end(self) -> None:
        """End it as Ctrl-C does."""
        os.killpg(self._process.pid, signal.SIGINT)
        self._process.wait(15)
        os.close(self._ours)


def scenes(terminal: Terminal, folder: Path) -> None:
    """Play what is to be seen."""
    gateway = terminal.start("make run", ["make", "-s", "run", "ARGS=--port 8080"], "Ctrl-C", ROOT)
    terminal.run(f"""curl -s localhost:8080/v1/chat/completions -d '{{"model": "gpt-4o-mini",
    {ASK}}}' | jq -r '.choices[0].message.content'""")
    terminal.say("A provider breaks off in the middle of its answer. The cut is not passed off as the end.")
    terminal.run(f"""curl -sSN localhost:8080/v1/chat/completions -d '{{"model": "fault-cut-4-abort", "stream": true,
    {ASK}}}' 2>&1 | grep -oE '"(content|message)":"[^"]+"|curl:.*'""")
    gateway.end()

    terminal.say("A model always fails, and another answers in its place.")
    (folder / "stanchion.toml").write_text(terminal.real(SETTINGS), encoding="utf-8")
    terminal.run("cat stanchion.toml")
    simulator = terminal.start("", ["stanchion", "simulate", "--port", "8090"], "http", folder)
    gateway = terminal.start("", ["stanchion", "serve", "--port", "8080"], "Ctrl-C", folder)
    terminal.run(f"""curl -si localhost:8080/v1/chat/completions -d '{{"model": "assistant",
    {ASK}}}' | grep -E '^(HTTP|x-stanchion-[em])'""")
    terminal.say("The same engine, in the terminal.")
    terminal.run('stanchion chat "Where is my order?" | head -3')
    gateway.end()
    simulator.end()


def main() -> None:
    """Record."""
    with tempfile.TemporaryDirectory() as name:
        terminal = Terminal(Path(name))
        scenes(terminal, Path(name))
    svg = terminal.console.export_svg(title="stanchion", theme=THEME, code_format=SVG, unique_id="stanchion")
    svg = re.sub(r"[ \t]+\n", "\n", svg)
    (ROOT / "docs" / "images" / "recording.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
