"""What is compared in a store, a module a kind of table: each yields findings, none of them writes."""
