"""The model store: which models exist, where they are, and how they are downloaded and written."""
