"""The inline assistant: what it hears and says, and all its plans."""
