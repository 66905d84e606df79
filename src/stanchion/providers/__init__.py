"""The far end: services that do network.  `http.py` is the one place that touches the HTTP client."""
