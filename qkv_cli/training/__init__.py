"""Learning heads over frozen word vectors."""
