"""What a page or a command does, step by step, without its widgets."""
