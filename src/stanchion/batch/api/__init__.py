"""/v1/files and /v1/batches for providers that have none: OpenAI's Batch API over the runner of jobs."""
