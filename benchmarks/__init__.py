"""Measurements of a running server. Ratios within one run mean something; absolute times only on one machine."""
