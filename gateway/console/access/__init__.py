"""Who may see and do what on the console: roles and rights, and the guard that asks for them."""
