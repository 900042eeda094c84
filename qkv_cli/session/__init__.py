"""Opening a model folder and running the model on texts."""
