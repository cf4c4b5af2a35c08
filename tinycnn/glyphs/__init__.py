"""Digits, letters and signs, drawn by code in the ways people write them."""
