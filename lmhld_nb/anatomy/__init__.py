"""Anatomy: what a network costs and sees, drawn from its own code."""
