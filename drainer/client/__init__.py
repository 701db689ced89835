"""Speaks to sidecars over HTTP, and finds the local ones; standard library only."""
