"""Telling people about approvals: what a message says, how it gets to somebody, and when they want to be told."""
