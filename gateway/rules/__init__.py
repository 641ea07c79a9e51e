"""Routing rules: YAML text to a compiled plan; pure."""
