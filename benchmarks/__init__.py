"""Measurements; never asserted by a timed test."""
