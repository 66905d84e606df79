"""The one place where all is put together: settings, the two stacks, the outbox, the engine."""
