"""The gateway: an OpenAI-compatible HTTP server over the engine.  Knows HTTP and no policy."""
