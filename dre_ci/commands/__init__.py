"""One module per ``dre`` command: it registers its parser and runs it."""
