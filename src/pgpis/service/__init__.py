"""``pgpis serve``: pictures over HTTP, drawn by worker processes that share a queue and batch equal settings."""
