"""Makes a caller's batch a job of the runner, and files of what it wrote."""

from __future__ import annotations

from pathlib import Path

from stanchion.batch.api.admission import Doorkeeper
from stanchion.batch.api.files import FileStore
from stanchion.batch.api.state import BatchState
from stanchion.batch.formats.openai_lines import ErrorOutput, OpenAIOutput
from stanchion.batch.forms.openai_lines import OpenAILines
from stanchion.batch.job import Job, Outputs
from stanchion.batch.lanes.lane import Item
from stanchion.batch.lanes.sync import SyncLane
from stanchion.batch.outputs import write_outputs
from stanchion.batch.sources.jsonl import JsonLines
from stanchion.core.call import Call, Operation
from stanchion.engine.engine import Engine
from stanchion.engine.settings import BatchesOptions
from stanchion.engine.spread_outcome import SpreadOptions
from stanchion.rules.row_key import RowKey
from stanchion.stores.journal.journal import Journal

FINISH_S = 5.0  # seconds that calls in flight may take when a batch is cancelled or the process ends
_OPERATIONS = {each.path: each for each in Operation}


class CallerLane(SyncLane):
    """The sync lane of a caller's job: each call is signed anew, so a key that is revoked makes no more calls."""

    def __init__(
        self, engine: Engine, options: SpreadOptions, door: Doorkeeper, key: str, operation: Operation
    ) -> None:
        """`key` is the public part of the key the batch was made with."""
        super().__init__(engine, options)
        self._door = door
        self._key = key
        self._operation = operation

    def _call(self, item: Item) -> Call:
        return self._door.again(self._key, self._operation).sign(super()._call(item))


class Bench:
    """What all jobs are made of."""

    def __init__(
        self, engine: Engine, door: Doorkeeper, folder: Path, files: FileStore, options: BatchesOptions
    ) -> None:
        """`folder` holds the journals."""
        self._engine = engine
        self._door = door
        self._folder = folder
        self._files = files
        self._options = options

    def job(self, state: BatchState) -> Job:
        """Return the job of a batch."""
        spread = SpreadOptions(most=self._options.open_most, finish_s=FINISH_S)
        lane = CallerLane(self._engine, spread, self._door, state.key, _OPERATIONS[state.operation])
        journal = self.journal(state)
        outputs = Outputs(journal / "output", OpenAIOutput(), journal / "errors", ErrorOutput())
        source = JsonLines(self._files.path(state.input_file_id), state.input_file_id)
        return Job(source, OpenAILines(), outputs, (lane,), journal, finish_s=FINISH_S)

    def name_files(self, state: BatchState, outputs: Outputs) -> None:
        """Make files of the API of what was written.  Runs in a thread."""
        for kind, path in (("output", outputs.path), ("error", outputs.errors)):
            if path.exists() and path.stat().st_size:
                name, to = self._files.new_path()
                path.replace(to)
                filename = f"{state.id}_{kind}.jsonl"
                self._files.add(name, owner=state.owner, filename=filename, purpose="batch_output")
                setattr(state, f"{kind}_file_id", name)

    def journal(self, state: BatchState) -> Path:
        """Return the folder of its journal."""
        return self._folder / f"{state.id}.stanchion"


def write_part(job: Job) -> None:
    """Write what was answered of a job that was stopped.  Runs in a thread."""
    journal = Journal.open(job.journal)
    try:
        write_outputs(job, RowKey(job.form.settled), journal, partial=True)
    finally:
        journal.close()
