"""A page to try models in the browser, and its API: ``pgpis app``. This package alone loads no torch and no Gradio."""
