"""The paper's claims, a module for each."""
