"""From a query to the clips of a store."""
