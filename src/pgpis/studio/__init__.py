"""One request in, pictures out: what the page and the service share. Its code is that of ``pgpis predict``."""
