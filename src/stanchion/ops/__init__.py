"""Pages for whoever is on call."""
