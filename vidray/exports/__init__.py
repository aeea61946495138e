"""A store's tables as other tools want them."""
