"""Anatomy: costs and receptive fields of networks, and diagrams from their own code."""
