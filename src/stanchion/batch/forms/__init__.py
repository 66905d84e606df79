"""What lines ask: each form turns a raw line into what decides its answer, and into a request."""
