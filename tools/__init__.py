"""Tools of development; nothing of this is part of the gateway."""
