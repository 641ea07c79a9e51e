"""What pages and API have in common: one module a subject, values in, frozen values out; nothing of HTTP."""
