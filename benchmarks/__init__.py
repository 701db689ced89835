"""Figures, each beside the plain alternative, in one run: ``tox -e bench``."""
