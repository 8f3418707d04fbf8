"""What a worker does by itself, again and again."""
