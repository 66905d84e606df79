"""Names and set-up of logs, metrics and traces: each name exists once, here."""
