"""The journal of a batch job: what was answered so far, on a disk of this machine, beside the job's output.

A folder with five files: `lock` (who writes), `job.json` (what the job is), `answers` (every record, appended), `index`
(one entry of 40 bytes a record, so that opening reads no answers), `synced` (how much of `answers` is surely on the
disk).  Why so, and what was measured: docs/decisions/0034.
"""
