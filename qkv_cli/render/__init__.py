"""Pictures: Rich renderables of head maps, which know nothing about models."""
