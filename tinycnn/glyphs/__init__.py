"""Digits, letters and signs, written by code in the ways people write them."""
