"""Weights from anywhere behind one function: released ones, files, runs. Never imports a task."""
