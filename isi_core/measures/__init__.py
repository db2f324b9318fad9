"""What is measured on what a model returned: plain functions over arrays."""
