"""What a message says, as values: no file here reads or writes anything."""
