"""Data of the engine: frozen records with one strict parser each, and no input or output."""
