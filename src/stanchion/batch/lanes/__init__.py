"""The ways a job's requests can go: at once, or through what a provider sells cheaper."""
