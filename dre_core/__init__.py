"""The core of the Development Reality Engine: sealed evidence and the verifiers that judge it."""

__version__ = "0.1.0"
