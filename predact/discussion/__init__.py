"""Analyses that combine several claims."""
