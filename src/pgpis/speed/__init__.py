"""How fast models, trainings and loaders are, and how much memory they take."""
