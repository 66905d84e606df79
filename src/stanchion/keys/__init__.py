"""Providers' keys: where they come from, which value of a key is used, and which keys rest."""
