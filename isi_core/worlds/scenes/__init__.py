"""Pictogram scenes: a graph of objects, its drawing, and questions with their truth."""
