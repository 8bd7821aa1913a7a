"""Stages that output passes on its way to disk: masking, pattern detection, codecs."""
