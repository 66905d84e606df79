"""The library: an async client, a blocking one over the same engine, and a transport under the openai SDK."""
