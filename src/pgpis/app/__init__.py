"""The page ``pgpis app``: pictures made in a browser."""
